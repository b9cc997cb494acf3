"""Helpers that need neither MMEngine nor MMPretrain."""

from .installation import check_installation
from .resources import find_config, resource_root
from .shots import SHOT_GROUPS, shot_groups

__all__ = [
    'SHOT_GROUPS',
    'check_installation',
    'find_config',
    'resource_root',
    'shot_groups',
]
