"""Focal loss on softmax probabilities."""

from mmpretrain.registry import MODELS
from torch import Tensor

from .long_tailed_loss import LongTailedLoss


def focal_modulation(cross_entropy: Tensor, gamma: float) -> Tensor:
    """``(1 - p) ** gamma * CE`` of cross-entropies of any shape; p = exp(-CE)."""
    # -expm1(-CE) is 1 - p without cancellation for confident samples; the lower bound
    # keeps the gradient of x ** gamma finite at x = 0 for gamma < 1.
    miss = -(-cross_entropy).expm1()
    return miss.clamp_min(1e-12) ** gamma * cross_entropy


@MODELS.register_module()
class SoftmaxFocalLoss(LongTailedLoss):
    """Focal loss, Lin et al., ICCV 2017, eq. 4, with softmax instead of sigmoid.

    The form used for single-label long-tailed recognition (RIDE, figure 3).
    MMPretrain's ``FocalLoss`` is the sigmoid form for several labels.

    Args:
        gamma: Focusing parameter, >= 0; 0 is cross-entropy.
        **kwargs: Of :class:`LongTailedLoss`.
    """

    def __init__(self, gamma: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        if not gamma >= 0:
            raise ValueError(f'gamma: expected a number >= 0, got {gamma}')
        self.gamma = gamma

    def losses(self, logits: Tensor, label: Tensor | None) -> Tensor:
        """``(1 - p_c) ** gamma * -log p_c`` of the label or of each class c."""
        return focal_modulation(super().losses(logits, label), self.gamma)
