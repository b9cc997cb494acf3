"""What the long-tailed classification losses have in common."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

from ..layers import ClassCountsMixin
from ..layers.full_precision import full_precision
from .reweighting import effective_number_weights


def is_soft(label: Tensor, logits: Tensor, loss_name: str) -> bool:
    """Tell soft labels (Mixup, CutMix, one-hot) from class indices.

    Args:
        label: Class indices (N,), or the share of each class, (N, C).
        logits: (N, C).
        loss_name: For the error.

    Raises:
        ValueError: If they are neither.
    """
    if label.ndim == 1 and len(label) == len(logits) and not label.is_floating_point():
        return False
    if label.shape == logits.shape:
        return True
    raise ValueError(
        f'{loss_name}: expected class indices of shape ({len(logits)},) or soft labels '
        f'of shape {tuple(logits.shape)}, got {label.dtype} of shape '
        f'{tuple(label.shape)}'
    )


def weighted_mean(weighted_loss: Tensor, weight: Tensor) -> Tensor:
    """``sum(weight * loss) / sum(weight)`` with the denominator of all processes.

    Args:
        weighted_loss: Loss of each sample times its weight, (N,).
        weight: Weight of each sample, (N,).

    Returns:
        A scalar whose mean over processes is the weighted mean over the joint batch.
    """
    denominator = weight.sum()
    all_reduce(denominator, op='mean')
    return weighted_loss.sum() / denominator


class LongTailedLoss(ClassCountsMixin, nn.Module):
    """Cross-entropy, optionally re-weighted by class.

    A subclass changes :meth:`losses`. The loss is computed in fp32, also under
    autocast.

    A soft label y, as Mixup and CutMix make it, has the mixture of the losses of its
    classes, ``sum_c y_c loss(l, c)`` (Zhang et al., mixup, ICLR 2018): every class with
    a share keeps the margin, prior or focus of its own. Re-weighted, a class's term has
    the weight ``y_c w_c`` and a sample, in the denominator, ``sum_c y_c w_c``. One-hot
    labels give the loss of class indices.

    Args:
        reweight: ``None`` weights all samples equally; ``'always'`` by the effective
            number of their class; ``'deferred'`` (DRW, Cao et al. 2019, section 3.3)
            likewise, but only from the epoch on that ``DeferredReweightHook`` names.
        beta: Of :func:`effective_number_weights`.
        loss_weight: Factor of the returned loss.
        reduction: ``'mean'``, ``'sum'`` or ``'none'``. The mean of a re-weighted loss
            is the weighted mean, its denominator taken over all processes.
        class_counts: Training images of each class, (C,); else ``ClassCountsHook``
            hands them over.
    """

    needs_every_class = False

    def __init__(
        self,
        reweight: Literal['deferred', 'always'] | None = None,
        beta: float = 0.9999,
        loss_weight: float = 1.0,
        reduction: Literal['mean', 'sum', 'none'] = 'mean',
        class_counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if reweight not in (None, 'deferred', 'always'):
            raise ValueError(
                f"reweight: expected None, 'deferred' or 'always', got {reweight!r}"
            )
        if not 0 <= beta < 1:
            raise ValueError(f'beta: expected a number in [0, 1), got {beta}')
        if reduction not in ('mean', 'sum', 'none'):
            raise ValueError(
                f"reduction: expected 'mean', 'sum' or 'none', got {reduction!r}"
            )
        self.reweight = reweight
        self.beta = beta
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.reweighting = reweight == 'always'
        self.init_class_counts(class_counts=class_counts)

    def set_class_counts(self, class_counts: Sequence[int]) -> None:
        """Take the number of training images of each class, (C,).

        Raises:
            ValueError: Also if a class has none and the loss divides by their number.
        """
        counts = list(class_counts)
        if (self.needs_every_class or self.reweight) and 0 in counts:
            raise ValueError(
                f'{type(self).__name__}: expected at least one training image of each '
                f'class, got none of class {counts.index(0)} ({counts.count(0)} such '
                'classes); leave these classes out, or use a loss without class counts'
            )
        super().set_class_counts(class_counts)

    @property
    def deferred(self) -> bool:
        """Whether the loss waits for ``DeferredReweightHook``."""
        return self.reweight == 'deferred'

    def set_reweighting(self, active: bool) -> None:
        """Switch a deferred re-weighting on or off; called by the hook."""
        if self.deferred:
            self.reweighting = active

    def class_weights(self) -> Tensor:
        """Weight of each class, (C,)."""
        return effective_number_weights(self.known_class_counts(), self.beta)

    def losses(self, logits: Tensor, label: Tensor | None) -> Tensor:
        """Loss of each sample, not weighted.

        Args:
            logits: (N, C).
            label: Class indices, (N,); or None, which soft labels ask for: the loss
                with each class as the label.

        Returns:
            (N,), or without labels (N, C).
        """
        if label is None:
            return -F.log_softmax(logits, dim=1)
        return F.cross_entropy(logits, label, reduction='none')

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
        **kwargs,
    ) -> Tensor:
        """Compute the loss.

        Args:
            cls_score: Logits, (N, C).
            label: Class indices, (N,), or soft labels, (N, C).
            weight: Weight of each sample, (N,).
            avg_factor: Denominator of the mean of a loss that is not re-weighted; N by
                default. A re-weighted loss divides by the sum of its weights.
            reduction_override: Replaces ``reduction``.
            **kwargs: Not used; part of MMPretrain's contract.

        Returns:
            A scalar, or (N,) with reduction ``'none'``.

        Raises:
            ValueError: If the labels are neither class indices nor soft.
        """
        soft = is_soft(label, cls_score, type(self).__name__)
        reduction = reduction_override or self.reduction
        with full_precision(cls_score):
            measure = self._mixed_terms if soft else self._terms
            loss, weights = measure(cls_score.float(), label, weight)
            if reduction == 'none':
                pass
            elif reduction == 'sum':
                loss = loss.sum()
            elif self.reweighting:
                loss = weighted_mean(loss, weights)
            else:
                loss = loss.sum() / (avg_factor or len(loss))
        return self.loss_weight * loss

    def _terms(
        self, logits: Tensor, label: Tensor, weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Weighted loss and weight of each sample of a class, (N,) each."""
        loss = self.losses(logits, label)
        weights = torch.ones_like(loss) if weight is None else weight.float()
        if self.reweighting:
            weights = weights * self.class_weights()[label]
        return weights * loss, weights

    def _mixed_terms(
        self, logits: Tensor, target: Tensor, weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The same of samples with shares (N, C) of classes."""
        shares = target.float()
        losses = self.losses(logits, None)
        if losses.shape != logits.shape:
            raise ValueError(
                f'{type(self).__name__}.losses: expected a loss for each sample and '
                f'class, {tuple(logits.shape)}, where label is None, as with Mixup and '
                f'CutMix, got {tuple(losses.shape)}'
            )
        if weight is not None:
            shares = shares * weight.float()[:, None]
        if self.reweighting:
            shares = shares * self.class_weights()
        return (shares * losses).sum(1), shares.sum(1)
