"""Search for thresholds that serve best within a budget, or cost least.

One threshold for all routers is searched exhaustively. With one for each router, all
but the last lie on a grid of the shares of arriving samples that continue, refined
around what is found; the last router's is always searched exhaustively.
"""

from collections.abc import Callable

import numpy as np

from .curves import Curve, last_router_curves, one_threshold_curve
from .records import RoutingRecords

# How far a budget may be missed, for the rounding of sums.
TOLERANCE = 1e-9
# Settings of all routers but the last on the first grid, at most; but at least two
# shares, none and all, are tried at each router.
COMBINATIONS = 3000
# Step between the shares of a router at which the search ends.
FINEST_STEP = 0.01

Thresholds = tuple[float, ...]
# For a curve and K levels: the point chosen for each level, and what it is ranked by,
# (K,) and (K, 2); where none will do, the rank is -inf.
Goal = Callable[[Curve, np.ndarray], tuple[np.ndarray, np.ndarray]]


def best_within(curve: Curve, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose the highest accuracy at a cost within each limit; of equals the cheapest.

    Args:
        curve: Of M + 1 points.
        limits: Of the mean cost, (K,).

    Returns:
        Points, (K,), and ranks (accuracy, -cost), (K, 2).
    """
    count = np.searchsorted(curve.cost, limits + TOLERANCE, side='right')
    highest = np.maximum.accumulate(curve.accuracy)
    points = np.searchsorted(highest, highest[count - 1])  # the first of equals
    ranks = np.stack([curve.accuracy[points], -curve.cost[points]], axis=1)
    ranks[count == 0] = -np.inf
    return points, ranks


def cheapest_reaching(
    curve: Curve, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the lowest cost at which each accuracy is reached.

    Args:
        curve: Of M + 1 points.
        targets: Accuracies in percent, (K,).

    Returns:
        Points, (K,), and ranks (-cost, accuracy), (K, 2).
    """
    highest = np.maximum.accumulate(curve.accuracy)
    first = np.searchsorted(highest, targets - TOLERANCE)
    points = np.minimum(first, len(highest) - 1)
    ranks = np.stack([-curve.cost[points], curve.accuracy[points]], axis=1)
    ranks[first == len(highest)] = -np.inf
    return points, ranks


def search_one_threshold(
    records: RoutingRecords, cost: np.ndarray, goal: Goal, levels: np.ndarray
) -> list[Thresholds | None]:
    """Find the best threshold shared by all routers, among all there are.

    Args:
        records: Of N samples and E experts.
        cost: Of a sample that used 1 to E experts, (E,), increasing.
        goal: :func:`best_within` or :func:`cheapest_reaching`.
        levels: Limits or targets of the goal, (K,).

    Returns:
        For each level E - 1 equal thresholds; None where no setting will do.
    """
    best = _Best(goal, levels)
    best.offer(one_threshold_curve(records, cost))
    return best.thresholds


def search_router_thresholds(
    records: RoutingRecords, cost: np.ndarray, goal: Goal, levels: np.ndarray
) -> list[Thresholds | None]:
    """Find good thresholds, one for each router; never worse than a shared one.

    Exhaustive where the grid has room for all distinct scores.

    Args:
        records: Of N samples and E experts.
        cost: Of a sample that used 1 to E experts, (E,), increasing.
        goal: :func:`best_within` or :func:`cheapest_reaching`.
        levels: Limits or targets of the goal, (K,).

    Returns:
        For each level E - 1 thresholds; None where no setting was found that will do.
    """
    best = _Best(goal, levels)
    best.offer(one_threshold_curve(records, cost))
    routers = records.num_experts - 2
    if routers == 0:
        return best.thresholds
    finest = round(1 / FINEST_STEP) + 1
    size = min(finest, max(2, int(COMBINATIONS ** (1 / routers) + TOLERANCE)))
    for curve in last_router_curves(records, cost, [np.linspace(0, 1, size)] * routers):
        best.offer(curve)
    step = 1 / (size - 1)
    while step > FINEST_STEP:
        step /= 2
        for thresholds in list(dict.fromkeys(filter(None, best.thresholds))):
            shares = continuing_shares(records, thresholds)[:-1]
            near = [np.clip(s + step * np.array([-1, 0, 1]), 0, 1) for s in shares]
            for curve in last_router_curves(records, cost, near):
                best.offer(curve)
    return best.thresholds


def continuing_shares(records: RoutingRecords, thresholds: Thresholds) -> np.ndarray:
    """Compute which share of the samples that arrive at a router continues.

    Args:
        records: Of N samples and E experts.
        thresholds: Of each router, E - 1.

    Returns:
        (E - 1,), weighted; 0 where nobody arrives.
    """
    passing = np.logical_and.accumulate(records.scores > thresholds, axis=1)
    weight = np.append(1, records.weights @ passing)  # (E,)
    return np.divide(
        weight[1:], weight[:-1], out=np.zeros(len(thresholds)), where=weight[:-1] > 0
    )


class _Best:
    """The best setting so far for each level of a goal."""

    def __init__(self, goal: Goal, levels: np.ndarray) -> None:
        self.goal = goal
        self.levels = np.asarray(levels, dtype=np.float64)
        self.ranks = np.full((len(self.levels), 2), -np.inf)
        self.thresholds: list[Thresholds | None] = [None] * len(self.levels)

    def offer(self, curve: Curve) -> None:
        """Take what is better than the setting so far."""
        points, ranks = self.goal(curve, self.levels)
        (first, second), (first_so_far, second_so_far) = ranks.T, self.ranks.T
        better = (first > first_so_far) | (
            (first == first_so_far) & (second > second_so_far)
        )
        for k in np.flatnonzero(better):
            self.ranks[k] = ranks[k]
            self.thresholds[k] = curve.thresholds(points[k])
