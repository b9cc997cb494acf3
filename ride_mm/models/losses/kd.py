"""Distillation of logits."""

import math
from typing import Literal

import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..layers.full_precision import full_precision
from .knowledge import Knowledge


def kd_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(softmax(teacher / T) || softmax(student / T))``, mean over the batch.

    Hinton et al., Distilling the Knowledge in a Neural Network, 2015, section 2.

    Args:
        logits: The student's, (N, C).
        teacher_logits: (N, C).
        temperature: T > 0.

    Returns:
        A scalar.
    """
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction='batchmean')


def paper_kd(
    expert_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """``sum_e T^2 KL(teacher || expert_e)``: RIDE, appendix A.2.

    Args:
        expert_logits: The student's, (E, N, C).
        teacher_logits: (N, C).
        temperature: T > 0.

    Returns:
        A scalar.
    """
    teachers = teacher_logits.expand_as(expert_logits)  # (E, N, C)
    # The mean over E * N rows, times E, is the sum over experts of their means.
    rows = expert_logits.flatten(0, 1), teachers.flatten(0, 1)
    return len(expert_logits) * kd_loss(*rows, temperature)


def check_classes(student: Tensor, teacher: Tensor) -> None:
    """Refuse logits of other classes than the student's.

    Raises:
        ValueError: If the last axes differ.
    """
    if student.shape[-1] != teacher.shape[-1]:
        raise ValueError(
            f"teacher: expected the student's {student.shape[-1]} classes, got logits "
            f'of {teacher.shape[-1]}'
        )


@MODELS.register_module()
class KDLoss(nn.Module):
    """The teacher's joint decision as a soft target.

    Wang et al., RIDE, ICLR 2021, appendix A.2. The published numbers come from the
    ``official`` form (https://github.com/frank-xwang/RIDE-LongTailRecognition): the
    student's *mean* logits are distilled, and the whole loss, RIDE's and this one, is
    added once per expert, so ``loss_cls`` and ``loss_div`` are multiplied by E, too.
    The ``paper`` form distils into each expert and leaves the others as they are.

    Args:
        temperature: T of :func:`kd_loss`.
        form: ``'official'`` or ``'paper'``.
        loss_weight: Factor of this loss.
    """

    needs_features = False

    def __init__(
        self,
        temperature: float = 1.5,
        form: Literal['official', 'paper'] = 'official',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f'temperature: expected a number > 0, got {temperature}')
        if form not in ('official', 'paper'):
            raise ValueError(f"form: expected 'official' or 'paper', got {form!r}")
        self.temperature = temperature
        self.form = form
        self.loss_weight = loss_weight

    @property
    def whole_loss_per_expert(self) -> bool:
        """Whether all losses of the student are added once per expert."""
        return self.form == 'official'

    def forward(self, student: Knowledge, teacher: Knowledge) -> Tensor:
        """Compare the logits: a scalar, in fp32; the official form times E."""
        check_classes(student.expert_logits, teacher.expert_logits)
        with full_precision(student.expert_logits):
            experts = student.expert_logits.float()
            target = teacher.logits.float()
            if self.form == 'official':
                loss = len(experts) * kd_loss(experts.mean(0), target, self.temperature)
            else:
                loss = paper_kd(experts, target, self.temperature)
        return self.loss_weight * loss
