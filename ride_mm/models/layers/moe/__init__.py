"""Sparse mixtures of experts: routing, dispatch, experts, and the losses of routers."""

from .auxiliary import Report, collect_reports
from .capacity import expert_capacity
from .dispatch import ExpertsChoose, TokensChoose, buffer_positions
from .experts import StackedExperts, StackedLinear
from .experts_choose import ExpertsChooseRouter
from .losses import gshard_loss, importance_loss, load_loss, squared_variation
from .moe_layer import MoELayer
from .noisy_top_k import NoisyTopKRouter
from .router import Router, Scores

__all__ = [
    'ExpertsChoose',
    'ExpertsChooseRouter',
    'MoELayer',
    'NoisyTopKRouter',
    'Report',
    'Router',
    'Scores',
    'StackedExperts',
    'StackedLinear',
    'TokensChoose',
    'buffer_positions',
    'collect_reports',
    'expert_capacity',
    'gshard_loss',
    'importance_loss',
    'load_loss',
    'squared_variation',
]
