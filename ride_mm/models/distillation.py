"""A student's losses beside those of its head: what it learns from a teacher."""

import torch
from mmengine.model import ModuleDict
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..structures import LabelBatch
from .heads import MultiExpertHead, RouterHead
from .losses import CRDLoss
from .losses.knowledge import Knowledge
from .teacher import Teacher, knowledge


def build_distillation(
    configs: dict[str, dict | None] | None, student: nn.Module
) -> ModuleDict:
    """Build the distillation losses of a student.

    Args:
        configs: Config of each by its name; ``None`` leaves one out.
        student: A classifier with experts.

    Raises:
        ValueError: If the student cannot be taught.
    """
    wanted = {name: dict(c) for name, c in (configs or {}).items() if c is not None}
    if not wanted:
        return ModuleDict()
    head = student.head if student.with_head else None
    if not isinstance(head, MultiExpertHead) or isinstance(head, RouterHead):
        raise ValueError(
            'distill: expected a MultiExpertHead, whose experts learn (stage one), got '
            f'{type(head).__name__}'
        )
    for name, config in wanted.items():
        if not name.isidentifier() or name in ('cls', 'div'):
            raise ValueError(
                'distill: expected names such as kd, other than cls and div, got '
                f'{name!r}'
            )
        if config.get('type') == CRDLoss.__name__:
            config.setdefault('student_channels', head.num_experts * head.in_channels)
    return ModuleDict({name: MODELS.build(config) for name, config in wanted.items()})


def distillation_losses(
    distill: ModuleDict,
    head: MultiExpertHead,
    teacher: Teacher | None,
    inputs: Tensor,
    feats: tuple[Tensor, ...],
    data_samples: list[DataSample],
) -> dict[str, Tensor]:
    """Losses of a head and of the distillation, by name.

    Args:
        distill: Distillation losses by name.
        head: The student's.
        teacher: Whom the student learns from.
        inputs: Preprocessed images, (N, 3, H, W).
        feats: The student's pooled features, E times (N, D).
        data_samples: N samples with labels.

    Returns:
        ``loss_cls``, ``loss_div`` and others of the head, and ``loss_NAME`` for each
        distillation loss.

    Raises:
        RuntimeError: If there is no teacher.
    """
    if teacher is None:
        raise RuntimeError(
            'distill: expected a teacher from KDHook (default_hooks.teacher), got none'
        )
    needs_features = any(loss.needs_features for loss in distill.values())
    taught = teacher(inputs, needs_features)
    student = knowledge(head, feats, needs_features)
    losses = head._get_loss(student.expert_logits, data_samples)
    if any(getattr(loss, 'whole_loss_per_expert', False) for loss in distill.values()):
        losses = {
            name: value * (head.num_experts if 'loss' in name else 1)
            for name, value in losses.items()
        }
    for name, loss in distill.items():
        losses[f'loss_{name}'] = _compare(loss, student, taught, data_samples)
    return losses


def _compare(
    loss: nn.Module,
    student: Knowledge,
    teacher: Knowledge,
    data_samples: list[DataSample],
) -> Tensor:
    if not getattr(loss, 'needs_sample_idx', False):
        return loss(student, teacher)
    if isinstance(data_samples, LabelBatch):
        return loss(student, teacher, data_samples.sample_idx)
    index = [sample.get('sample_idx') for sample in data_samples]
    if None in index:
        raise ValueError(
            f'{type(loss).__name__}: expected the index of each training sample '
            '(sample_idx, as PackInputs packs it), got none'
        )
    return loss(student, teacher, torch.tensor(index, device=teacher.logits.device))
