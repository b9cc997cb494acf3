"""What a routed model computes for a sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RoutingCost:
    """What a sample costs that used 1, 2, ... experts.

    Attributes:
        macs: Multiply-adds of a sample that used k experts, in entry k - 1, routers
            included; E of them, strictly increasing.
        plain_macs: Multiply-adds of the plain network, to which costs are compared.

    Raises:
        ValueError: If a cost is not positive and finite, or they do not increase.
    """

    macs: Sequence[float]
    plain_macs: float

    def __post_init__(self) -> None:
        macs = np.asarray(self.macs, dtype=np.float64)
        if macs.ndim != 1 or not (
            np.isfinite(macs).all() and (np.diff(macs, prepend=0) > 0).all()
        ):
            raise ValueError(
                f'macs: expected finite costs above 0 that increase with the number of '
                f'experts, got {self.macs}'
            )
        if not (np.isfinite(self.plain_macs) and self.plain_macs > 0):
            raise ValueError(
                f'plain_macs: expected a finite cost above 0, got {self.plain_macs}'
            )
        object.__setattr__(self, 'macs', tuple(macs.tolist()))

    @property
    def ratios(self) -> np.ndarray:
        """Cost of 1, 2, ... experts relative to the plain network, (E,)."""
        return np.array(self.macs) / self.plain_macs

    def check_experts(self, num_experts: int) -> None:
        """Refuse another number of experts than there are costs.

        Raises:
            ValueError: If the numbers differ.
        """
        if len(self.macs) != num_experts:
            raise ValueError(
                f'macs: expected {num_experts} costs, one for each number of experts, '
                f'got {len(self.macs)}'
            )
