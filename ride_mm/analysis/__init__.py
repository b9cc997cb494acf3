"""What tables and figures of results need, as functions."""

from .class_accuracy import ClassAccuracy, read_class_accuracy
from .complexity import model_complexity
from .plots import plot_accuracy_by_class
from .tables import format_count, format_percent, format_table

__all__ = [
    'ClassAccuracy',
    'format_count',
    'format_percent',
    'format_table',
    'model_complexity',
    'plot_accuracy_by_class',
    'read_class_accuracy',
]
