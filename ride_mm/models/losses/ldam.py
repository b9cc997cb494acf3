"""Label-distribution-aware margin loss."""

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor

from .long_tailed_loss import LongTailedLoss


def ldam_margins(class_counts: Tensor, max_margin: float = 0.5) -> Tensor:
    """Margin of each class, larger for rarer classes.

    ``m_c = max_margin * n_c ** (-1/4) / max_k n_k ** (-1/4)``: LDAM, eq. 13, with its
    constant chosen so that the rarest class has ``max_margin``.

    Args:
        class_counts: Training images of each class, n_c >= 1, (C,).
        max_margin: The largest margin, on the scale of cosines.

    Returns:
        The margins in fp32, (C,).
    """
    margins = class_counts.double().pow(-0.25)
    return (max_margin * margins / margins.max()).float()


def subtract_margin(logits: Tensor, label: Tensor, margins: Tensor) -> Tensor:
    """Lower each sample's target logit by its class's margin.

    Args:
        logits: (N, C).
        label: Class indices, (N,).
        margins: On the scale of the logits, (C,).

    Returns:
        The changed logits, (N, C).
    """
    index = label[:, None]
    return logits.scatter_add(1, index, -margins[index].to(logits.dtype))


def margin_losses(logits: Tensor, margins: Tensor) -> Tensor:
    """Cross-entropy of each class with its own margin, for all classes together.

    ``-log(exp(l_c - m_c) / (exp(l_c - m_c) + sum_{k != c} exp(l_k)))``, LDAM, eq. 12,
    which is ``softplus(log sum_{k != c} exp(l_k) - l_c + m_c)``. The sum over the
    others is 1 - p_c of the whole. For the largest logit 1 - p_c may round to 0, so
    there the others are summed directly.

    Args:
        logits: l, (N, C).
        margins: m, on the scale of the logits, (C,).

    Returns:
        Column c is the loss with c as the label, (N, C).
    """
    log_p = F.log_softmax(logits, dim=1)
    largest = torch.zeros_like(logits, dtype=torch.bool).scatter_(
        1, logits.argmax(1, keepdim=True), True
    )
    without_largest = log_p.masked_fill(largest, -torch.inf).logsumexp(1, keepdim=True)
    # p <= 1/2 where it is used.
    others = torch.log1p(-log_p.masked_fill(largest, -torch.inf).exp())
    others = torch.where(largest, without_largest, others)
    return F.softplus(others - log_p + margins)


@MODELS.register_module()
class LDAMLoss(LongTailedLoss):
    """Cross-entropy with a margin that grows for rare classes.

    Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
    NeurIPS 2019, eq. 12 and 13 (https://github.com/kaidic/LDAM-DRW). The logits come
    scaled from the model (cosine classifier), so the margin subtracted is ``scale *
    m``. In a mixed label each class has its own margin, see :func:`margin_losses`;
    that is not the cross-entropy of the label with both margins subtracted at once.

    Args:
        max_margin: Margin of the rarest class, on the scale of cosines.
        scale: The scale of the cosine classifier's logits.
        **kwargs: Of :class:`LongTailedLoss`; ``reweight='deferred'`` makes it LDAM-DRW.
    """

    needs_every_class = True

    def __init__(self, max_margin: float = 0.5, scale: float = 30.0, **kwargs) -> None:
        super().__init__(**kwargs)
        if not max_margin >= 0:
            raise ValueError(f'max_margin: expected a number >= 0, got {max_margin}')
        self.max_margin = max_margin
        self.scale = scale

    def losses(self, logits: Tensor, label: Tensor | None) -> Tensor:
        """Cross-entropy with the scaled margin subtracted from the target logit."""
        margins = self._margins()
        if label is None:
            return margin_losses(logits, margins)
        return super().losses(subtract_margin(logits, label, margins), label)

    def _margins(self) -> Tensor:
        """Margins on the scale of the logits, (C,)."""
        return self.scale * ldam_margins(self.known_class_counts(), self.max_margin)
