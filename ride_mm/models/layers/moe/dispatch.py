"""Which tokens an expert takes, as indices, and the buffers they travel in.

G groups of S tokens, E experts with a buffer of C rows for each group, K experts per
token. What the experts receive is always (E, G * C, D), the groups one after the other.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .rows import add_rows, assignments_of_rows, take_tokens


def buffer_positions(
    experts: Tensor, num_experts: int, priority: Tensor | None = None
) -> Tensor:
    """Position of each assignment in the buffer of its expert, 0 for the first.

    All first choices come before all second ones, and so on; within a choice, tokens
    come in their order, or by descending priority (Batch Priority Routing, section 4 of
    the paper), equal ones in their order.

    Args:
        experts: The selected experts, (G, S, K), int64.
        num_experts: E.
        priority: Of each token, (G, S); by default first come, first served.

    Returns:
        (G, S, K), int32.
    """
    order = None
    if priority is not None:
        order = (-priority).argsort(dim=1, stable=True)[..., None].expand_as(experts)
        experts = experts.gather(1, order)
    queue = experts.transpose(1, 2)  # (G, K, S)
    numbers = torch.arange(num_experts, device=experts.device)
    chosen = queue.flatten(1)[:, None] == numbers[:, None]  # (G, E, K * S)
    count = chosen.cumsum(-1, dtype=torch.int32)
    position = count.gather(1, queue.flatten(1)[:, None])[:, 0] - 1  # (G, K * S)
    position = position.view(queue.shape).transpose(1, 2).contiguous()
    if order is not None:
        position = torch.empty_like(position).scatter_(1, order, position)
    return position


@dataclass(frozen=True)
class TokensChoose:
    """Each token has selected K experts, which take as many as they have room for.

    Attributes:
        experts: The selected experts, best first, (G, S, K), int64.
        positions: In the expert's buffer, (G, S, K); from ``capacity`` on, dropped.
        weights: Of each selected expert's output, (G, S, K), fp32.
        num_experts: E.
        capacity: C.
    """

    experts: Tensor
    positions: Tensor
    weights: Tensor
    num_experts: int
    capacity: int

    @property
    def kept(self) -> Tensor:
        """Which assignments have room, (G, S, K)."""
        return self.positions < self.capacity

    @cached_property
    def _index(self) -> tuple[Tensor, Tensor, Tensor]:
        groups, _, choices = self.experts.shape
        group = torch.arange(groups, device=self.experts.device)[:, None, None]
        rows = (self.experts * groups + group) * self.capacity + self.positions
        rows, kept = rows.view(-1, choices), self.kept.view(-1, choices)
        total = self.num_experts * groups * self.capacity
        return assignments_of_rows(rows, kept, total), rows, kept

    def dispatch(self, x: Tensor) -> Tensor:
        """Copy tokens (G, S, D) to the experts' buffers, (E, G * C, D)."""
        buffer = take_tokens(x.flatten(0, 1), *self._index)
        return buffer.view(self.num_experts, -1, x.shape[-1])

    def combine(self, out: Tensor) -> Tensor:
        """Sum the experts' outputs (E, G * C, D) for each token, (G, S, D), fp32.

        A token whose assignments were all dropped gets zeros.
        """
        groups, size, choices = self.experts.shape
        weights = self.weights.reshape(-1, choices)
        y = add_rows(out.flatten(0, 1), weights, *self._index)
        return y.view(groups, size, -1)

    def tokens_per_expert(self) -> Tensor:
        """Tokens that each expert took, (G, E)."""
        load = self.positions.new_zeros(len(self.experts), self.num_experts)
        return load.scatter_add_(
            1, self.experts.flatten(1), self.kept.flatten(1).to(load.dtype)
        )

    def dropped(self) -> Tensor:
        """Share of the assignments that found no room, (G,)."""
        return 1 - self.kept.flatten(1).float().mean(1)


@dataclass(frozen=True)
class ExpertsChoose:
    """Each expert has selected C tokens; a token may have none, or all experts.

    Attributes:
        tokens: The selected tokens, best first, (G, E, C), int64.
        weights: Of the expert's output for each of them, (G, E, C), fp32.
        num_tokens: S.
    """

    tokens: Tensor
    weights: Tensor
    num_tokens: int

    @property
    def num_experts(self) -> int:
        """Number of experts, E."""
        return self.tokens.shape[1]

    @property
    def capacity(self) -> int:
        """Tokens of each expert, C."""
        return self.tokens.shape[2]

    @cached_property
    def _index(self) -> Tensor:
        group = torch.arange(len(self.tokens), device=self.tokens.device)
        flat = self.tokens + group[:, None, None] * self.num_tokens
        return flat.transpose(0, 1).flatten()  # (E * G * C)

    def dispatch(self, x: Tensor) -> Tensor:
        """Copy tokens (G, S, D) to the experts' buffers, (E, G * C, D)."""
        buffer = x.flatten(0, 1).index_select(0, self._index)
        return buffer.view(self.num_experts, -1, x.shape[-1])

    def combine(self, out: Tensor) -> Tensor:
        """Sum the experts' outputs (E, G * C, D) for each token, (G, S, D), fp32."""
        groups = len(self.tokens)
        weights = self.weights.transpose(0, 1).reshape(-1, 1)
        y = weights.new_zeros(groups * self.num_tokens, out.shape[-1])
        y = y.index_add(0, self._index, out.flatten(0, 1) * weights)
        return y.view(groups, self.num_tokens, -1)

    def tokens_per_expert(self) -> Tensor:
        """Tokens that each expert took, (G, E)."""
        return self.tokens.new_full(self.tokens.shape[:2], self.capacity)

    def dropped(self) -> Tensor:
        """Share of the tokens that no expert took, (G,)."""
        taken = self.weights.new_zeros(len(self.tokens), self.num_tokens)
        return 1 - taken.scatter_(1, self.tokens.flatten(1), 1).mean(1)
