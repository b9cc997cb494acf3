"""Label-distribution-aware margin loss."""

from mmpretrain.registry import MODELS
from torch import Tensor

from .long_tailed_loss import LongTailedLoss


def ldam_margins(class_counts: Tensor, max_margin: float = 0.5) -> Tensor:
    """Margin of each class, larger for rarer classes.

    ``m_c = max_margin * n_c ** (-1/4) / max_k n_k ** (-1/4)``: LDAM, eq. 13, with its
    constant chosen such that the rarest class has ``max_margin``.

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


@MODELS.register_module()
class LDAMLoss(LongTailedLoss):
    """Cross-entropy with a margin that grows for rare classes.

    Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
    NeurIPS 2019, eq. 12 and 13 (https://github.com/kaidic/LDAM-DRW). The logits come
    scaled from the model (cosine classifier), so the margin subtracted is ``scale *
    m``.

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

    def adjust(self, logits: Tensor, label: Tensor) -> Tensor:
        """Subtract the scaled margin from the target logit; (N, C)."""
        margins = self.scale * ldam_margins(self.known_class_counts(), self.max_margin)
        return subtract_margin(logits, label, margins)
