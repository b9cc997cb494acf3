"""Heads for several experts."""

from .multi_expert_head import MultiExpertHead

__all__ = ['MultiExpertHead']
