"""Similarity-preserving distillation."""

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..layers.full_precision import full_precision
from .joint_batch import gather_batch
from .knowledge import Knowledge


def batch_similarity(features: Tensor) -> Tensor:
    """``G_i = (Q Q^T)_i / |(Q Q^T)_i|``: rows of length one.

    Args:
        features: Q, (N, D).

    Returns:
        (N, N).
    """
    return F.normalize(features @ features.T, dim=1)


def sp_loss(features: Tensor, teacher_features: Tensor) -> Tensor:
    """``1/N^2 |G_teacher - G_student|_F^2``.

    Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019.

    Args:
        features: The student's, (N, D).
        teacher_features: (N, D'); the widths may differ.

    Returns:
        A scalar.
    """
    difference = batch_similarity(teacher_features) - batch_similarity(features)
    return difference.square().mean()


@MODELS.register_module()
class SPLoss(nn.Module):
    """Distillation of the similarity of the samples of a batch.

    Tung and Mori, ICCV 2019, see :func:`sp_loss`; RIDE's table 5. Departure: features
    are pooled, where the paper takes whole feature maps. The feature of a network with
    experts is all of theirs side by side. Batches of several processes are taken
    together.

    Args:
        loss_weight: Factor of this loss, gamma; the default is the paper's.
    """

    needs_features = True

    def __init__(self, loss_weight: float = 3000.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student: Knowledge, teacher: Knowledge) -> Tensor:
        """Compare the features: a scalar, in fp32."""
        with full_precision(student.features):
            own = gather_batch(student.joint_feature)
            return self.loss_weight * sp_loss(own, gather_batch(teacher.joint_feature))
