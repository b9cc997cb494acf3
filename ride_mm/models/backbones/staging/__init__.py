"""How the backbones of MMPretrain divide into stages, one file for each family."""

from . import arch_lists, mobile, resnet, swin, vit  # noqa: F401  (register theirs)
from .base import STAGINGS, Staging, staging_for, staging_of

__all__ = ['STAGINGS', 'Staging', 'staging_for', 'staging_of']
