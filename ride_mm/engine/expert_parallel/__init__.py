"""Training with the experts of V-MoE layers split over processes."""

from .clipping import clip_split_norm_
from .hook import ExpertParallelHook
from .shards import experts_of, split_experts, whole_experts
from .wrapper import ExpertParallel

__all__ = [
    'ExpertParallel',
    'ExpertParallelHook',
    'clip_split_norm_',
    'experts_of',
    'split_experts',
    'whole_experts',
]
