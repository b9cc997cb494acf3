"""The router of V-MoE: each token selects its experts."""

from typing import Literal

from mmpretrain.registry import MODELS
from torch import Tensor

from ..full_precision import full_precision
from .dispatch import TokensChoose, buffer_positions
from .losses import gshard_loss, importance_loss, load_loss
from .router import Router, Scores, select


@MODELS.register_module()
class NoisyTopKRouter(Router):
    """Each token selects the K experts of the largest gates.

    Riquelme et al., V-MoE, NeurIPS 2021, section 2.2: ``TopK(softmax(W x + noise))``.
    The softmax comes first, and the selected gates are not normalised again unless told
    to; of equal ones the first is selected.

    Args:
        embed_dims: Channels of a token, D.
        num_experts: E.
        num_selected: Experts of a token, K.
        capacity_factor: Room of an expert in training relative to tokens that are
            spread evenly.
        eval_capacity_factor: The same for testing; by default that of training.
        rounding: ``'ceil'`` or ``'round'``.
        capacity_multiple: The capacity is raised to a multiple of this.
        batch_priority: Serve tokens with a large first gate first, not in their order.
        normalize: Divide the weights of the selected experts by their sum. A V-MoE that
            starts from a dense network then begins as that network.
        noise_std: Standard deviation of the noise on the logits in training, times E.
        importance_weight: Of :func:`importance_loss`.
        load_weight: Of :func:`load_loss`, which needs noise.
        gshard_weight: Of :func:`gshard_loss`.

    Raises:
        ValueError: If a setting makes no sense, such as more selected experts than
            there are.
    """

    def __init__(
        self,
        embed_dims: int,
        num_experts: int,
        num_selected: int = 2,
        capacity_factor: float = 1.05,
        eval_capacity_factor: float | None = None,
        rounding: Literal['ceil', 'round'] = 'ceil',
        capacity_multiple: int | None = 4,
        batch_priority: bool = False,
        normalize: bool = False,
        noise_std: float = 1.0,
        importance_weight: float = 0.005,
        load_weight: float = 0.005,
        gshard_weight: float = 0.0,
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
        if type(num_selected) is not int or not 1 <= num_selected <= num_experts:
            raise ValueError(
                f'num_selected: expected a whole number from 1 to {num_experts}, the '
                f'number of experts, got {num_selected!r}'
            )
        self.num_selected = num_selected
        self.batch_priority = batch_priority
        self.normalize = normalize
        self.weights = dict(
            importance=importance_weight, load=load_weight, gshard=gshard_weight
        )

    def choose(self, scores: Scores) -> TokensChoose:
        """Select experts for each token, and give out the room they have."""
        weights, experts = select(scores.gates, self.num_selected)
        priority = weights[..., 0].detach() if self.batch_priority else None
        positions, asked = buffer_positions(experts, self.num_experts, priority)
        if self.normalize:
            weights = weights / weights.sum(-1, keepdim=True)
        capacity = self.capacity(scores.gates.shape[1] * self.num_selected)
        return TokensChoose(experts, positions, asked, weights, capacity)

    def losses(
        self, scores: Scores, choice: TokensChoose
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Weighted sum of the losses, (G,), and each by name.

        A loss of weight 0 is told, but not added, not even as NaN.
        """
        with full_precision(scores.logits):
            terms = dict(
                importance=importance_loss(scores.clean),
                gshard=gshard_loss(scores.gates),
            )
            if scores.noisy:
                last = scores.noisy_logits.gather(-1, choice.experts[..., -1:])[..., 0]
                std = self.noise_std / self.num_experts
                terms['load'] = load_loss(scores.logits, last, std)
            weighted = [
                self.weights[name] * term
                for name, term in terms.items()
                if self.weights[name] > 0
            ]
        return (sum(weighted) if weighted else None), terms
