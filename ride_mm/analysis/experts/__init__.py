"""What sparse mixtures of experts do with labelled images."""

from .capacity import CapacityPoint, capacity_sweep
from .plots import plot_capacity, plot_experts_by_class, plot_load
from .recording import LayerRouting, RoutingRecorder, moe_layers, record_routing

__all__ = [
    'CapacityPoint',
    'LayerRouting',
    'RoutingRecorder',
    'capacity_sweep',
    'moe_layers',
    'plot_capacity',
    'plot_experts_by_class',
    'plot_load',
    'record_routing',
]
