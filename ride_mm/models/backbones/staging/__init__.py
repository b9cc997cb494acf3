"""How the backbones of MMPretrain divide into stages, one file for each family."""

from . import (  # noqa: F401  (register theirs)
    arch_lists,
    mobile,
    resnet,
    swin,
    vit,
    vmoe,
)
from .base import STAGINGS, Staging, staging_for, staging_of

__all__ = ['STAGINGS', 'Staging', 'staging_for', 'staging_of']
