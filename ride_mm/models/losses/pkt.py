"""Probabilistic knowledge transfer."""

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..layers.full_precision import full_precision
from .joint_batch import gather_batch
from .knowledge import Knowledge

# Least cosine kernel and probability, so that nothing is divided by 0 and no logarithm
# of 0 is taken.
EPSILON = 1e-7


def neighbour_probabilities(features: Tensor) -> Tensor:
    """Probability that sample j is a neighbour of sample i, by cosine.

    ``K(a, b) = (cos(a, b) + 1) / 2`` and ``p_{j|i} = K_ij / sum_{k != i} K_ik``; the
    diagonal is zero.

    Args:
        features: (N, D), N >= 2.

    Returns:
        Rows that sum to one, (N, N).
    """
    direction = F.normalize(features, dim=1)
    kernel = (direction @ direction.T + 1) / 2
    diagonal = torch.eye(len(kernel), dtype=torch.bool, device=kernel.device)
    kernel = kernel.clamp_min(EPSILON).masked_fill(diagonal, 0)
    return kernel / kernel.sum(1, keepdim=True)


def pkt_loss(features: Tensor, teacher_features: Tensor) -> Tensor:
    """``1/N^2 sum_i sum_{j != i} p_{j|i} log(p_{j|i} / q_{j|i})``.

    Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge
    Transfer, ECCV 2018, with p the teacher's and q the student's; averaged over pairs,
    where the paper sums.

    Args:
        features: The student's, (N, D).
        teacher_features: (N, D'); the widths may differ.

    Returns:
        A scalar, zero for fewer than two samples.
    """
    if len(features) < 2:
        return features.sum() * 0
    p = neighbour_probabilities(teacher_features)
    q = neighbour_probabilities(features)
    # The diagonal contributes nothing: p is zero there.
    ratio = p.clamp_min(EPSILON).log() - q.clamp_min(EPSILON).log()
    return (p * ratio).mean()


@MODELS.register_module()
class PKTLoss(nn.Module):
    """Distillation of who is whose neighbour in the batch.

    Passalis and Tefas, ECCV 2018, see :func:`pkt_loss`; RIDE's table 5. The feature of
    a network with experts is all of theirs side by side. Batches of several processes
    are taken together.

    Args:
        loss_weight: Factor of this loss; the default is the one of Tian et al.,
            Contrastive Representation Distillation, ICLR 2020, for CIFAR-100.
    """

    needs_features = True

    def __init__(self, loss_weight: float = 30000.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student: Knowledge, teacher: Knowledge) -> Tensor:
        """Compare the features: a scalar, in fp32."""
        with full_precision(student.features):
            own = gather_batch(student.joint_feature)
            return self.loss_weight * pkt_loss(own, gather_batch(teacher.joint_feature))
