"""A router where each expert selects its tokens."""

from typing import Literal

from mmpretrain.registry import MODELS

from .dispatch import ExpertsChoose
from .router import Router, Scores, select


@MODELS.register_module()
class ExpertsChooseRouter(Router):
    """Each expert selects the C tokens of the largest gates.

    Zhou et al., Mixture-of-Experts with Expert Choice Routing, NeurIPS 2022, as V-MoE's
    authors have it: the softmax is over the experts. All experts are equally busy
    without a loss. What a token gets depends on the others of its group, so a group is
    usually one image.

    Args:
        embed_dims: Channels of a token, D.
        num_experts: E.
        capacity_factor: Experts of a token on average.
        eval_capacity_factor: The same for testing; by default that of training.
        rounding: ``'ceil'`` or ``'round'``.
        capacity_multiple: The capacity is raised to a multiple of this.
        noise_std: Standard deviation of the noise on the logits in training, times E.
    """

    def __init__(
        self,
        embed_dims: int,
        num_experts: int,
        capacity_factor: float = 1.0,
        eval_capacity_factor: float | None = None,
        rounding: Literal['ceil', 'round'] = 'round',
        capacity_multiple: int | None = 1,
        noise_std: float = 1.0,
    ) -> None:
        super().__init__(
            embed_dims,
            num_experts,
            capacity_factor,
            eval_capacity_factor,
            rounding,
            capacity_multiple,
            noise_std,
        )

    def choose(self, scores: Scores) -> ExpertsChoose:
        """Select tokens for each expert."""
        size = scores.gates.shape[1]
        weights, tokens = select(
            scores.gates.transpose(1, 2), min(self.capacity(size), size)
        )
        return ExpertsChoose(tokens, weights, size)
