"""What sparse mixtures of experts do with labelled images."""

from .capacity import CapacityPoint, capacity_sweep
from .plots import plot_capacity, plot_experts_by_class, plot_load
from .recording import LayerRouting, RoutingRecorder, moe_layers, record_routing
from .speed import PASSES, SIZES, LayerSize, LayerSpeed, measure_layer

__all__ = [
    'PASSES',
    'SIZES',
    'CapacityPoint',
    'LayerSize',
    'LayerRouting',
    'LayerSpeed',
    'RoutingRecorder',
    'capacity_sweep',
    'measure_layer',
    'moe_layers',
    'plot_capacity',
    'plot_experts_by_class',
    'plot_load',
    'record_routing',
]
