"""Losses, and labels that are class indices or mixtures of two classes."""

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor

from ride_mm.models.losses import LDAMLoss, LongTailedLoss

COUNTS = [100, 20, 5, 2]
LABELS = torch.tensor([0, 1, 3, 2, 0, 3])
OTHERS = torch.tensor([3, 1, 0, 1, 2, 2])  # One is mixed with its own class.
SHARES = torch.tensor([0.7, 0.2, 0.5, 1.0, 0.0, 0.35])


class SqrtPrior(LongTailedLoss):
    """As a user writes one: another loss of the adjusted logits."""

    def losses(self, logits: Tensor, label: Tensor | None) -> Tensor:
        return super().losses(logits + 0.5 * self.known_class_counts().log(), label)


class Softened(LDAMLoss):
    """As a user derives one from a loss with a form of its own for mixed labels."""

    def losses(self, logits: Tensor, label: Tensor | None) -> Tensor:
        return 2 * super().losses(logits / 2, label)


LOSSES = {
    'LDAM': dict(type='LDAMLoss'),
    'focal': dict(type='SoftmaxFocalLoss', gamma=1.5),
    'balanced': dict(type='BalancedSoftmaxLoss'),
    'adjusted': dict(type='LogitAdjustmentLoss', tau=1.5),
    'CE': dict(type='ReweightedCrossEntropyLoss', reweight='deferred'),
    'plain': LongTailedLoss,
    'own': SqrtPrior,
    'derived': Softened,
}


def build_loss(name: str, **kwargs) -> LongTailedLoss:
    kind = LOSSES[name]
    if isinstance(kind, dict):
        return MODELS.build({**kind, 'class_counts': COUNTS, **kwargs})
    return kind(class_counts=COUNTS, **kwargs)


def logits(scale: float = 5.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    values = scale * torch.randn(len(LABELS), len(COUNTS), generator=generator)
    return values.requires_grad_()


def one_hot(label: Tensor) -> Tensor:
    return F.one_hot(label, len(COUNTS)).float()


def mixed() -> Tensor:
    share = SHARES[:, None]
    return share * one_hot(LABELS) + (1 - share) * one_hot(OTHERS)
