"""Losses that shift the logits by the logarithm of the class prior."""

import math

from mmpretrain.registry import MODELS
from torch import Tensor

from .long_tailed_loss import LongTailedLoss


def log_prior(class_counts: Tensor) -> Tensor:
    """``log(n_c / N)`` of class counts (C,), in fp32."""
    counts = class_counts.double()
    return (counts / counts.sum()).log().float()


@MODELS.register_module()
class LogitAdjustmentLoss(LongTailedLoss):
    """Logit-adjusted softmax cross-entropy.

    Menon et al., Long-tail Learning via Logit Adjustment, ICLR 2021, eq. 10: the
    cross-entropy of ``logits + tau * log prior``; prediction uses the plain logits.

    Args:
        tau: Strength of the adjustment; 0 is cross-entropy.
        **kwargs: Of :class:`LongTailedLoss`.
    """

    needs_every_class = True

    def __init__(self, tau: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        if not math.isfinite(tau):
            raise ValueError(f'tau: expected a finite number, got {tau}')
        self.tau = tau

    def losses(self, logits: Tensor, label: Tensor | None) -> Tensor:
        """``-log softmax(l + tau * log prior)_c`` of the label or of each class c."""
        prior = log_prior(self.known_class_counts())
        return super().losses(logits + self.tau * prior, label)


@MODELS.register_module()
class BalancedSoftmaxLoss(LogitAdjustmentLoss):
    """Balanced softmax, Ren et al., NeurIPS 2020, eq. 4.

    ``-log(n_y exp(l_y) / sum_c n_c exp(l_c))``, which is logit adjustment with tau 1.

    Args:
        **kwargs: Of :class:`LongTailedLoss`.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(tau=1.0, **kwargs)
