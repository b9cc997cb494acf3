"""Building blocks that several models share."""

from .class_counts import ClassCountsMixin, modules_wanting_class_counts
from .cosine_linear import CosineLinear
from .expert_router import ExpertRouter
from .grouped_batch_norm import GroupedBatchNorm2d
from .moe import ExpertsChooseRouter, MoELayer, NoisyTopKRouter
from .side_by_side import side_by_side

__all__ = [
    'ClassCountsMixin',
    'CosineLinear',
    'ExpertRouter',
    'ExpertsChooseRouter',
    'GroupedBatchNorm2d',
    'MoELayer',
    'NoisyTopKRouter',
    'modules_wanting_class_counts',
    'side_by_side',
]
