"""The buffers in which tokens travel to the experts and back.

============= ================== ======================================================
Layout        Shape              Rows, and when it is used
============= ================== ======================================================
``'padded'``  (E, G * C, D)      C for each expert and group; where most are filled
``'ragged'``  (T * K, D)         expert after expert, for grouped matrix products; where
                                 padding would leave most rows empty
``'exact'``   (R, D)             ragged, without rows for dropped tokens
``'trimmed'`` (E, R, D)          as many for each expert as the busiest one needs
``'dense'``   (E, T, D)          all tokens for each expert, most weighted with 0; where
                                 there is too little to compute for sorting to pay
============= ================== ======================================================

The shapes of the first two are known beforehand. For ``'exact'`` and ``'trimmed'`` the
host has to read a number from the device, which costs nothing on a CPU.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from .rows import add_rows, take_tokens, tokens_of_rows

Layout = Literal['padded', 'ragged', 'exact', 'trimmed', 'dense']


def row_numbers(
    experts: Tensor, positions: Tensor, taken: Tensor, capacity: int, layout: Layout
) -> tuple[Tensor, tuple[int, ...], Tensor | None]:
    """Number the rows of the buffers' assignments.

    Args:
        experts: Expert of each assignment, (G, S, K).
        positions: In the expert's queue for the group, (G, S, K).
        taken: Tokens that each expert takes of each group, (G, E).
        capacity: C.
        layout: Which, but ``'dense'``.

    Returns:
        Row of each assignment, (G, S, K), of no meaning if it is dropped; the shape of
        the rows, (E, R) or (R,); and in that case the end of each expert's rows, (E,),
        int32.
    """
    groups, num_experts = taken.shape
    group = torch.arange(groups, device=experts.device)[:, None, None]
    if layout == 'padded':
        rows = (experts * groups + group) * capacity + positions
        return rows, (num_experts, groups * capacity), None
    # Before a group's tokens come those of the groups before it.
    before = taken.cumsum(0) - taken  # (G, E)
    total = taken.sum(0)
    shape: tuple[int, ...]
    if layout == 'trimmed':
        shape, ends = (num_experts, max(1, int(total.max()))), None
        starts = before + shape[1] * torch.arange(num_experts, device=experts.device)
    else:
        ends = total.cumsum(0)
        starts = before + ends - total
        shape = (int(ends[-1]) if layout == 'exact' else experts.numel(),)
        # Rows that are left over are the last expert's: nobody's may hold anything.
        ends = torch.cat((ends[:-1], ends.new_full((1,), shape[0]))).int()
    rows = starts.gather(1, experts.flatten(1)).view_as(experts) + positions
    return rows, shape, ends


@dataclass(frozen=True)
class TokensBuffer:
    """T tokens with K assignments each.

    Attributes:
        rows: Row of each assignment, (T, K); the number of rows if it was dropped.
        weights: Of what comes back, (T, K), fp32; 0 for what was dropped.
        shape: Of the rows, (E, R) or (R,).
        ends: Of each expert's rows, (E,), int32; None if the shape tells.
    """

    rows: Tensor
    weights: Tensor
    shape: tuple[int, ...]
    ends: Tensor | None

    @cached_property
    def _tokens(self) -> Tensor:
        return tokens_of_rows(self.rows, math.prod(self.shape))

    def fill(self, x: Tensor) -> Tensor:
        """Copy tokens (T, D) to the experts' rows, (E, R, D) or (R, D)."""
        return take_tokens(x, self._tokens, self.rows).view(*self.shape, -1)

    def read(self, out: Tensor) -> Tensor:
        """Sum the experts' weighted outputs for each token, (T, D), fp32.

        A token whose assignments were all dropped gets zeros.

        Args:
            out: (E, R, D) or (R, D).
        """
        rows = out.reshape(-1, out.shape[-1])
        return add_rows(rows, self.weights, self._tokens, self.rows)


@dataclass(frozen=True)
class DenseBuffer:
    """T tokens that each of E experts sees.

    Attributes:
        weights: Of what comes back, (T, E), fp32; 0 but for a token's experts.
        ends: None; the shape tells.
    """

    weights: Tensor
    ends = None

    def fill(self, x: Tensor) -> Tensor:
        """Show tokens (T, D) to all experts, (E, T, D)."""
        return x.expand(self.weights.shape[1], -1, -1)

    def read(self, out: Tensor) -> Tensor:
        """Sum the experts' weighted outputs (E, T, D) for each token, (T, D), fp32."""
        return (out * self.weights.T[..., None]).sum(0)


@dataclass(frozen=True)
class ExpertsBuffer:
    """R tokens for each of E experts.

    Attributes:
        tokens: Token in each row, (E, R).
        weights: Of what comes back, (E, R), fp32.
        num_tokens: T.
        ends: None; the shape tells.
    """

    tokens: Tensor
    weights: Tensor
    num_tokens: int
    ends = None

    def fill(self, x: Tensor) -> Tensor:
        """Copy tokens (T, D) to the experts' rows, (E, R, D)."""
        return x.index_select(0, self.tokens.flatten()).view(*self.tokens.shape, -1)

    def read(self, out: Tensor) -> Tensor:
        """Sum the experts' weighted outputs (E, R, D) for each token, (T, D), fp32."""
        weighted = (out * self.weights[..., None]).flatten(0, 1)
        y = weighted.new_zeros(self.num_tokens, out.shape[-1])
        return y.index_add(0, self.tokens.flatten(), weighted)
