"""What tables and figures of results need, as functions."""

from .class_accuracy import ClassAccuracy, read_class_accuracy
from .class_count_plot import plot_class_counts
from .complexity import PartCosts, model_complexity, part_costs, part_parameters
from .plain_network import plain_complexity, plain_model
from .plots import plot_accuracy_by_class
from .tables import format_count, format_percent, format_table

__all__ = [
    'ClassAccuracy',
    'PartCosts',
    'format_count',
    'format_percent',
    'format_table',
    'model_complexity',
    'part_costs',
    'part_parameters',
    'plain_complexity',
    'plain_model',
    'plot_accuracy_by_class',
    'plot_class_counts',
    'read_class_accuracy',
]
