"""Building blocks that several models share."""

from .class_counts import ClassCountsMixin, modules_wanting_class_counts
from .cosine_linear import CosineLinear
from .expert_router import ExpertRouter

__all__ = [
    'ClassCountsMixin',
    'CosineLinear',
    'ExpertRouter',
    'modules_wanting_class_counts',
]
