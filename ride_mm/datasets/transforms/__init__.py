"""Transforms."""

from .random_rotation import LTRandomRotation
from .tpu_rand_augment import TPURandAugment

__all__ = ['LTRandomRotation', 'TPURandAugment']
