"""Losses: pure functions, and modules that hold their settings."""

from .diversity import DiversityLoss, official_diversity, paper_diversity
from .ldam import LDAMLoss, ldam_margins
from .logit_adjustment import BalancedSoftmaxLoss, LogitAdjustmentLoss
from .long_tailed_loss import LongTailedLoss
from .reweighted_cross_entropy import ReweightedCrossEntropyLoss
from .reweighting import effective_number_weights
from .router_loss import router_loss, router_targets, running_means
from .softmax_focal import SoftmaxFocalLoss

__all__ = [
    'BalancedSoftmaxLoss',
    'DiversityLoss',
    'LDAMLoss',
    'LogitAdjustmentLoss',
    'LongTailedLoss',
    'ReweightedCrossEntropyLoss',
    'SoftmaxFocalLoss',
    'effective_number_weights',
    'ldam_margins',
    'official_diversity',
    'paper_diversity',
    'router_loss',
    'router_targets',
    'running_means',
]
