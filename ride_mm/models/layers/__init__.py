"""Building blocks that several models share."""

from .class_counts import ClassCountsMixin, modules_wanting_class_counts
from .cosine_linear import CosineLinear

__all__ = ['ClassCountsMixin', 'CosineLinear', 'modules_wanting_class_counts']
