"""How many tokens of a group an expert takes."""

import math
from typing import Literal


def expert_capacity(
    num_assignments: int,
    num_experts: int,
    capacity_factor: float,
    rounding: Literal['ceil', 'round'] = 'ceil',
    multiple_of: int | None = 4,
) -> int:
    """Size of an expert's buffer for one group, C.

    Riquelme et al., V-MoE, NeurIPS 2021, section 2.3, as the authors' code rounds it:
    the share of one expert times the factor, rounded, then raised to a multiple.

    Args:
        num_assignments: Tokens of a group times the experts that each selects, S * K;
            where experts choose, the tokens alone.
        num_experts: Number of experts, E.
        capacity_factor: Room relative to tokens that are spread evenly.
        rounding: ``'ceil'``, or ``'round'`` to the nearest, halves to the even one.
        multiple_of: Raise the capacity to a multiple of this; None or 0 does not.

    Raises:
        ValueError: If not even one token would have room.
    """
    if rounding not in ('ceil', 'round'):
        raise ValueError(f"rounding: expected 'ceil' or 'round', got {rounding!r}")
    share = num_assignments * capacity_factor / num_experts
    if not math.isfinite(share):
        raise ValueError(
            f'capacity_factor: expected a finite number, got {capacity_factor}'
        )
    capacity = math.ceil(share) if rounding == 'ceil' else round(share)
    if capacity < 1:
        raise ValueError(
            f'capacity_factor: expected room for at least one token in each of '
            f'{num_experts} experts, got {capacity_factor} for {num_assignments} '
            f'assignments, a capacity of {share:.3g}'
        )
    if multiple_of and multiple_of > 0:
        capacity += -capacity % multiple_of
    return capacity
