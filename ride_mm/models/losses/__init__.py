"""Losses: pure functions, and modules that hold their settings."""

from .crd import CRDLoss, critic_loss
from .diversity import DiversityLoss, official_diversity, paper_diversity
from .kd import KDLoss, kd_loss, paper_kd
from .knowledge import Knowledge
from .ldam import LDAMLoss, ldam_margins
from .logit_adjustment import BalancedSoftmaxLoss, LogitAdjustmentLoss
from .long_tailed_loss import LongTailedLoss
from .pkt import PKTLoss, pkt_loss
from .reweighted_cross_entropy import ReweightedCrossEntropyLoss
from .reweighting import effective_number_weights
from .router_loss import router_loss, router_targets, running_means
from .softmax_focal import SoftmaxFocalLoss
from .sp import SPLoss, sp_loss

__all__ = [
    'BalancedSoftmaxLoss',
    'CRDLoss',
    'DiversityLoss',
    'KDLoss',
    'Knowledge',
    'LDAMLoss',
    'LogitAdjustmentLoss',
    'LongTailedLoss',
    'PKTLoss',
    'ReweightedCrossEntropyLoss',
    'SPLoss',
    'SoftmaxFocalLoss',
    'critic_loss',
    'effective_number_weights',
    'kd_loss',
    'ldam_margins',
    'official_diversity',
    'paper_diversity',
    'paper_kd',
    'pkt_loss',
    'router_loss',
    'router_targets',
    'running_means',
    'sp_loss',
]
