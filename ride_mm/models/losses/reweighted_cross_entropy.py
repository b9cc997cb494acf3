"""Cross-entropy re-weighted by class."""

from mmpretrain.registry import MODELS

from .long_tailed_loss import LongTailedLoss


@MODELS.register_module()
class ReweightedCrossEntropyLoss(LongTailedLoss):
    """Cross-entropy weighted by the effective number of each class's samples.

    Cui et al., Class-Balanced Loss, CVPR 2019, eq. 8 without its focal variant; with
    ``reweight='deferred'`` the CE-DRW baseline of Cao et al. 2019.

    Args:
        reweight: ``'always'`` or ``'deferred'``.
        **kwargs: Of :class:`LongTailedLoss`.
    """

    def __init__(self, reweight: str = 'always', **kwargs) -> None:
        if reweight is None:
            raise ValueError(
                "reweight: expected 'always' or 'deferred', got None; "
                'CrossEntropyLoss is the loss without weights'
            )
        super().__init__(reweight=reweight, **kwargs)
