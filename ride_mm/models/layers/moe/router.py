"""What all routers have in common: scores, noise, capacity."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..full_precision import full_precision
from .capacity import expert_capacity
from .dispatch import ExpertsChoose, TokensChoose


@dataclass(frozen=True)
class Scores:
    """What a router thinks of each pair of token and expert, (G, S, E), fp32.

    Attributes:
        logits: Without noise.
        clean: Their softmax.
        noisy_logits: With the noise of training; without noise the same.
        gates: Softmax of those, which selects and weighs.
    """

    logits: Tensor
    clean: Tensor
    noisy_logits: Tensor
    gates: Tensor

    @property
    def noisy(self) -> bool:
        """Whether there is noise."""
        return self.gates is not self.clean


class Router(BaseModule):
    """Scores tokens and hands them to experts; a subclass says how.

    All of it is computed in fp32, whatever is around.

    Args:
        embed_dims: Channels of a token, D.
        num_experts: E.
        capacity_factor: Of :func:`expert_capacity`.
        eval_capacity_factor: The same for testing; by default that of training.
        rounding: Of :func:`expert_capacity`.
        capacity_multiple: Of :func:`expert_capacity`, ``multiple_of``.
        noise_std: Standard deviation of the noise on the logits in training, times E.

    Raises:
        ValueError: If a setting makes no sense.
    """

    def __init__(
        self,
        embed_dims: int,
        num_experts: int,
        capacity_factor: float,
        eval_capacity_factor: float | None,
        rounding: Literal['ceil', 'round'],
        capacity_multiple: int | None,
        noise_std: float,
    ) -> None:
        super().__init__()
        if type(num_experts) is not int or num_experts < 1:
            raise ValueError(
                f'num_experts: expected a whole number >= 1, got {num_experts!r}'
            )
        for name, factor in (
            ('capacity_factor', capacity_factor),
            ('eval_capacity_factor', eval_capacity_factor),
        ):
            if factor is not None and not factor > 0:
                raise ValueError(f'{name}: expected a number > 0, got {factor}')
        if not noise_std >= 0:
            raise ValueError(f'noise_std: expected a number >= 0, got {noise_std}')
        self.num_experts = num_experts
        self.capacity_factor = capacity_factor
        self.eval_capacity_factor = eval_capacity_factor
        self.rounding = rounding
        self.capacity_multiple = capacity_multiple
        self.noise_std = noise_std
        self.weight = nn.Parameter(torch.empty(num_experts, embed_dims))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight from a truncated normal of variance 1 / D."""
        lecun_normal_(self.weight, self.weight.shape[1])

    def init_weights(self) -> None:
        """Draw the weight anew."""
        super().init_weights()
        self.reset_parameters()

    def capacity(self, num_assignments: int) -> int:
        """Size of an expert's buffer for so many assignments in a group."""
        factor = self.capacity_factor
        if not self.training and self.eval_capacity_factor is not None:
            factor = self.eval_capacity_factor
        return expert_capacity(
            num_assignments,
            self.num_experts,
            factor,
            self.rounding,
            self.capacity_multiple,
        )

    def score(self, x: Tensor) -> Scores:
        """Score tokens (G, S, D)."""
        x = x if x.dtype == torch.float64 else x.float()
        logits = F.linear(x, self.weight.to(x.dtype))
        clean = logits.softmax(-1)
        if not (self.training and self.noise_std > 0):
            return Scores(logits, clean, logits, clean)
        std = self.noise_std / self.num_experts
        noisy = logits + std * self.draw_noise(logits)
        return Scores(logits, clean, noisy, noisy.softmax(-1))

    def draw_noise(self, logits: Tensor) -> Tensor:
        """Standard normal noise for logits (G, S, E)."""
        return torch.randn_like(logits)

    def forward(self, x: Tensor) -> tuple[TokensChoose | ExpertsChoose, Scores]:
        """Route tokens (G, S, D), each group for itself.

        Returns:
            Who goes where, and why.
        """
        with full_precision(x):
            scores = self.score(x)
            return self.choose(scores), scores

    def choose(self, scores: Scores) -> TokensChoose | ExpertsChoose:
        """Decide who goes where."""
        raise NotImplementedError

    def losses(
        self, scores: Scores, choice: TokensChoose | ExpertsChoose
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Weighted sum of the losses, (G,), None without any; and each by name."""
        return None, {}


def select(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest values of the last axis and their index, largest first.

    Of equal values the first comes first, which ``torch.topk`` does not promise.
    """
    if k == 1:
        return values.max(dim=-1, keepdim=True)
    index = values.detach().sort(dim=-1, descending=True, stable=True)[1][..., :k]
    return values.gather(-1, index), index


def lecun_normal_(weight: Tensor, fan_in: int) -> None:
    """Fill in place from a normal of variance 1 / fan_in, truncated at 2 deviations.

    The truncation's loss of variance is made up for, as Flax does.
    """
    std = fan_in**-0.5 / 0.87962566103423978
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
