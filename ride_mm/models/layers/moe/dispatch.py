"""Which tokens an expert takes, as indices.

G groups of S tokens, E experts with room for C tokens of each group, K experts per
token.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .buffers import DenseBuffer, ExpertsBuffer, Layout, TokensBuffer, row_numbers


def buffer_positions(
    experts: Tensor, num_experts: int, priority: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Position of each assignment in the queue of its expert, 0 for the first.

    All first choices come before all second ones, and so on; within a choice, tokens
    come in their order, or by descending priority (Batch Priority Routing, section 4 of
    the paper), equal ones in their order.

    Args:
        experts: The selected experts, (G, S, K), int64.
        num_experts: E.
        priority: Of each token, (G, S); by default first come, first served.

    Returns:
        Positions, (G, S, K), and the length of each queue, (G, E); int32.
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
    return position, count[..., -1]


@dataclass(frozen=True)
class TokensChoose:
    """Each token has selected K experts, which take as many as they have room for.

    Attributes:
        experts: The selected experts, best first, (G, S, K), int64.
        positions: In the expert's queue, (G, S, K); from ``capacity`` on, dropped.
        asked: Length of each queue, (G, E).
        weights: Of each selected expert's output, (G, S, K), fp32.
        capacity: C.
    """

    experts: Tensor
    positions: Tensor
    asked: Tensor
    weights: Tensor
    capacity: int

    @property
    def num_experts(self) -> int:
        """Number of experts, E."""
        return self.asked.shape[1]

    @property
    def kept(self) -> Tensor:
        """Which assignments have room, (G, S, K)."""
        return self.positions < self.capacity

    @property
    def padded_rows(self) -> int:
        """Rows of all buffers, whether they are needed or not."""
        return self.asked.numel() * self.capacity

    @property
    def waste(self) -> float:
        """Padded rows for each assignment."""
        return self.padded_rows / self.experts.numel()

    def buffer(self, layout: Layout) -> TokensBuffer | DenseBuffer:
        """Lay the kept assignments out for the experts."""
        kept = self.kept
        weights = torch.where(kept, self.weights, 0).flatten(0, 1)
        if layout == 'dense':
            all_weights = weights.new_zeros(len(weights), self.num_experts)
            experts = self.experts.flatten(0, 1)
            return DenseBuffer(all_weights.scatter(1, experts, weights))
        rows, shape, ends = row_numbers(
            self.experts,
            self.positions,
            self.tokens_per_expert(),
            self.capacity,
            layout,
        )
        rows = torch.where(kept, rows, math.prod(shape)).flatten(0, 1)
        return TokensBuffer(rows, weights, shape, ends)

    def tokens_per_expert(self) -> Tensor:
        """Tokens that each expert took, (G, E)."""
        return self.asked.clamp(max=self.capacity)

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

    # Each row of each buffer holds a token.
    waste = 1.0

    @property
    def padded_rows(self) -> int:
        """Rows of all buffers."""
        return self.tokens.numel()

    @property
    def num_experts(self) -> int:
        """Number of experts, E."""
        return self.tokens.shape[1]

    @property
    def capacity(self) -> int:
        """Tokens of each expert, C."""
        return self.tokens.shape[2]

    def buffer(self, layout: Layout) -> ExpertsBuffer:
        """Lay the tokens out for the experts; all layouts are the same."""
        groups = len(self.tokens)
        group = torch.arange(groups, device=self.tokens.device)[:, None, None]
        flat = (self.tokens + group * self.num_tokens).transpose(0, 1)  # (E, G, C)
        weights = self.weights.transpose(0, 1).flatten(1)  # (E, G * C)
        return ExpertsBuffer(flat.flatten(1), weights, groups * self.num_tokens)

    def tokens_per_expert(self) -> Tensor:
        """Tokens that each expert took, (G, E)."""
        return self.tokens.new_full(self.tokens.shape[:2], self.capacity)

    def dropped(self) -> Tensor:
        """Share of the tokens that no expert took, (G,)."""
        taken = self.weights.new_zeros(len(self.tokens), self.num_tokens)
        return 1 - taken.scatter_(1, self.tokens.flatten(1), 1).mean(1)
