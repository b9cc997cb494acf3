"""Transforms."""

from .random_rotation import LTRandomRotation

__all__ = ['LTRandomRotation']
