"""Choose how much to compute after training, by the thresholds of the routers.

RIDE (Wang et al., ICLR 2021) routes at the probability 0.5 and fixes cost and accuracy
by that (section 3.3, figure 5). Thresholds trade one for the other without training.

Choose them on images held out from training: what is best on the test set is not
tested.
"""

import math
from collections.abc import Sequence

import numpy as np

from .cost import RoutingCost
from .curves import one_threshold_curve
from .points import OperatingPoint, evaluate_thresholds
from .records import RoutingRecords
from .search import (
    TOLERANCE,
    Goal,
    Thresholds,
    best_within,
    cheapest_reaching,
    search_one_threshold,
    search_router_thresholds,
)


def sweep_one_threshold(
    records: RoutingRecords, cost: RoutingCost, points: int = 41
) -> list[OperatingPoint]:
    """Sweep one threshold for all routers, from 'never continue' to 'always'.

    Args:
        records: Of N samples and E experts.
        cost: Of 1 to E experts.
        points: How many, spaced evenly in mean experts as far as the scores allow; at
            least 2.

    Returns:
        Operating points of rising cost, the ends included; fewer than asked for where
        scores are few or tied.

    Raises:
        ValueError: If the numbers of experts differ, or fewer than 2 points are asked.
    """
    cost.check_experts(records.num_experts)
    _check_points(points)
    experts = np.arange(1, records.num_experts + 1)
    curve = one_threshold_curve(records, experts)
    middles = (curve.cost[1:] + curve.cost[:-1]) / 2
    wanted = np.linspace(1, records.num_experts, points)
    return [
        evaluate_thresholds(records, curve.thresholds(point), cost)
        for point in np.unique(np.searchsorted(middles, wanted))
    ]


def sweep_router_thresholds(
    records: RoutingRecords, cost: RoutingCost, points: int = 31
) -> list[OperatingPoint]:
    """Sweep one threshold for each router; keep the best at each cost.

    Args:
        records: Of N samples and E experts.
        cost: Of 1 to E experts.
        points: How many budgets of multiply-adds to search, spaced evenly from one
            expert to all; at least 2.

    Returns:
        The Pareto frontier: operating points of rising cost and accuracy, from one
        expert on; at most one for each budget.

    Raises:
        ValueError: If the numbers of experts differ, or fewer than 2 points are asked.
    """
    cost.check_experts(records.num_experts)
    _check_points(points)
    ratios = cost.ratios
    found = search_router_thresholds(
        records, ratios, best_within, np.linspace(ratios[0], ratios[-1], points)
    )
    return pareto_frontier(
        [evaluate_thresholds(records, t, cost) for t in dict.fromkeys(found)]
    )


def pareto_frontier(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Keep the points that no other beats in both cost and accuracy over all samples.

    Args:
        points: In any order.

    Returns:
        Those kept, in order of cost; accuracy rises strictly.
    """
    kept: list[OperatingPoint] = []
    for point in sorted(points, key=lambda p: (p.macs, -p.accuracy['all'])):
        if not kept or point.accuracy['all'] > kept[-1].accuracy['all'] + TOLERANCE:
            kept.append(point)
    return kept


def choose_thresholds(
    records: RoutingRecords,
    cost: RoutingCost,
    *,
    mean_experts: float | None = None,
    macs_ratio: float | None = None,
    accuracy_drop: float | None = None,
    per_router: bool = False,
) -> OperatingPoint:
    """Choose the thresholds for a budget, exactly one of the three.

    Args:
        records: Of N samples and E experts.
        cost: Of 1 to E experts.
        mean_experts: Use at most so many experts on average, from 1 to E, and be as
            accurate as possible; of equally accurate settings the cheapest.
        macs_ratio: Use at most so many multiply-adds relative to the plain network, and
            be as accurate as possible; of equally accurate settings the cheapest.
        accuracy_drop: Lose at most so many points of accuracy against all experts (if
            negative: gain at least so many), and be as cheap as possible.
        per_router: Give each router a threshold of its own, instead of one to all.

    Returns:
        The operating point chosen. With one threshold it is the best there is; with one
        for each router the best of a search that includes it.

    Raises:
        ValueError: If not one budget is given, or it is NaN or cannot be met; the
            message says what can.
    """
    cost.check_experts(records.num_experts)
    given = dict(
        mean_experts=mean_experts, macs_ratio=macs_ratio, accuracy_drop=accuracy_drop
    )
    given = {name: budget for name, budget in given.items() if budget is not None}
    if len(given) != 1:
        raise ValueError(
            'budget: expected one of mean_experts, macs_ratio and accuracy_drop, got '
            f'{given or None}'
        )
    if accuracy_drop is not None:
        found = _keep_accuracy(records, cost, accuracy_drop, per_router)
    else:
        ((name, limit),) = given.items()
        experts = np.arange(1.0, records.num_experts + 1)
        costs = experts if name == 'mean_experts' else cost.ratios
        limit = _checked_limit(name, limit, costs)
        found = _search(records, costs, best_within, limit, per_router)
    return evaluate_thresholds(records, found, cost)


def _keep_accuracy(
    records: RoutingRecords, cost: RoutingCost, drop: float, per_router: bool
) -> Thresholds:
    """Find the cheapest thresholds that lose no more than so many points."""
    costs = cost.ratios
    every = 100 * records.weights[records.correct[:, -1]].sum()
    if math.isfinite(drop):
        found = _search(records, costs, cheapest_reaching, every - drop, per_router)
        if found is not None:
            return found
    free = _search(records, costs, best_within, costs[-1], per_router)
    smallest = every - evaluate_thresholds(records, free, cost).accuracy['all']
    if smallest <= drop < math.inf:  # refined further by the second search
        return free
    raise ValueError(
        f'accuracy_drop: expected at least {_ceil(smallest)} points, the smallest drop '
        f'from the {every:.2f} % of all {records.num_experts} experts that '
        f'{"these routers allow" if per_router else "one threshold allows"}, got {drop}'
    )


def _search(
    records: RoutingRecords,
    costs: np.ndarray,
    goal: Goal,
    level: float,
    per_router: bool,
) -> Thresholds | None:
    search = search_router_thresholds if per_router else search_one_threshold
    return search(records, costs, goal, np.array([level]))[0]


def _checked_limit(name: str, limit: float, costs: np.ndarray) -> float:
    low, high = float(costs[0]), float(costs[-1])
    if not low - TOLERANCE <= limit <= high + TOLERANCE:
        raise ValueError(
            f'{name}: expected {_ceil(low)} (one expert) to {_floor(high)} (all '
            f'{len(costs)} experts), got {limit}'
        )
    return min(max(limit, low), high)


def _check_points(points: int) -> None:
    if points < 2:
        raise ValueError(f'points: expected at least 2, got {points}')


# Bounds are written with four decimals so that what is written can be met.
def _ceil(value: float) -> float:
    return math.ceil(value * 1e4 - TOLERANCE) / 1e4


def _floor(value: float) -> float:
    return math.floor(value * 1e4 + TOLERANCE) / 1e4
