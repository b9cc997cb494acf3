"""What routing costs and achieves, at any thresholds of a trained router."""

from .budget import (
    choose_thresholds,
    pareto_frontier,
    sweep_one_threshold,
    sweep_router_thresholds,
)
from .cost import RoutingCost
from .plots import plot_routing
from .points import (
    OperatingPoint,
    evaluate_thresholds,
    experts_used,
    probability_to_threshold,
    threshold_to_probability,
)
from .records import RoutingRecords, routing_records, sample_weights

__all__ = [
    'OperatingPoint',
    'RoutingCost',
    'RoutingRecords',
    'choose_thresholds',
    'evaluate_thresholds',
    'experts_used',
    'pareto_frontier',
    'plot_routing',
    'probability_to_threshold',
    'routing_records',
    'sample_weights',
    'sweep_one_threshold',
    'sweep_router_thresholds',
    'threshold_to_probability',
]
