"""Heads for several experts."""

from .multi_expert_head import MultiExpertHead
from .router_head import RouterHead

__all__ = ['MultiExpertHead', 'RouterHead']
