"""Cost and accuracy of every value that one threshold can take.

Between two neighbouring scores a threshold changes nothing, so the distinct scores give
all settings there are; sorting them once gives cost and accuracy of each by a running
sum.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .records import RoutingRecords

# Sums are rounded to this many decimals, so that equal settings compare as equal.
DECIMALS = 9


@dataclass(frozen=True, eq=False)
class Curve:
    """Cost and accuracy while one threshold falls from 'never' to 'always'.

    At point j the samples with the j highest distinct scores continue.

    Attributes:
        scores: The distinct scores, descending, (M,).
        cost: Mean cost of a sample at points 0 to M, increasing, (M + 1,).
        accuracy: Over all samples in percent, (M + 1,).
        fixed: Thresholds of the routers before, which stay.
        routers: How many routers have the threshold that falls.
    """

    scores: np.ndarray
    cost: np.ndarray
    accuracy: np.ndarray
    fixed: tuple[float, ...]
    routers: int

    def thresholds(self, point: int) -> tuple[float, ...]:
        """Give the thresholds of all routers at a point."""
        return self.fixed + (threshold_at(self.scores, point),) * self.routers


def threshold_at(scores: np.ndarray | Tensor, point: int) -> float:
    """Place a threshold that the ``point`` highest scores pass, and no other.

    Args:
        scores: Descending, (M,). Of equal ones all or none pass: then fewer.
        point: From 0 to M.

    Returns:
        Midway between neighbours, so that rounding a score does no harm; ``inf`` above
        all of them, ``-inf`` below. It holds in single precision too, in which a model
        keeps it, if the scores are of single precision.
    """
    if point == 0:
        return float('inf')
    if point == len(scores):
        return float('-inf')
    above, below = float(scores[point - 1]), float(scores[point])
    middle = below + (above - below) / 2
    return middle if np.float32(middle) < above else below


def thresholds_at_shares(
    scores: np.ndarray, weights: np.ndarray, shares: np.ndarray
) -> list[float]:
    """Place thresholds that about the given shares of the samples pass.

    Args:
        scores: (n,), in any order.
        weights: (n,), positive.
        shares: Of the weight that shall pass, (S,), in [0, 1].

    Returns:
        Thresholds without repetition, descending; those nearest to the shares, or all
        there are where these are not more than S.
    """
    order = np.argsort(-scores, kind='stable')
    ends = _last_of_ties(scores[order])
    distinct = scores[order][ends]
    points = np.arange(len(distinct) + 1)
    if len(points) > len(shares):
        passing = np.append(0, np.cumsum(weights[order])[ends])
        passing /= passing[-1]
        points = np.unique(
            np.searchsorted((passing[1:] + passing[:-1]) / 2, np.asarray(shares))
        )
    return [threshold_at(distinct, point) for point in points]


def one_threshold_curve(records: RoutingRecords, cost: np.ndarray) -> Curve:
    """Follow one threshold for all routers.

    A sample goes beyond expert k where the lowest of its first k scores is above.

    Args:
        records: Of N samples and E experts.
        cost: Of a sample that used 1 to E experts, (E,), increasing.

    Returns:
        The curve, from one expert to all.
    """
    lowest = np.minimum.accumulate(records.scores, axis=1)  # (N, E - 1)
    order = np.argsort(-lowest, axis=None, kind='stable')
    costs, gains = _steps(records, cost)
    return _falling(
        lowest.ravel()[order],
        costs.ravel()[order],
        gains.ravel()[order],
        start=_first_expert(records, cost),
        fixed=(),
        routers=records.num_experts - 1,
    )


def last_router_curves(
    records: RoutingRecords, cost: np.ndarray, shares: Sequence[np.ndarray]
) -> Iterator[Curve]:
    """Follow the last router's threshold, for each setting of the others on a grid.

    Args:
        records: Of N samples and E experts.
        cost: Of a sample that used 1 to E experts, (E,), increasing.
        shares: For each router but the last the shares of the **arriving** samples that
            shall continue, E - 2 arrays.

    Yields:
        A curve for each combination; where nobody arrives at a router, the later ones
        have one setting only.
    """
    # The last router's scores stay sorted in every subset of the samples.
    order = np.argsort(-records.scores[:, -1], kind='stable')
    scores = records.scores[order].T.copy()  # (E - 1, N)
    costs, gains = (steps[order].T.copy() for steps in _steps(records, cost))
    weights = records.weights[order]

    def curves(samples, start, fixed) -> Iterator[Curve]:
        router = len(fixed)
        arriving = scores[router, samples]
        if router == len(shares):
            steps = costs[router, samples], gains[router, samples]
            yield _falling(arriving, *steps, start, fixed, routers=1)
            return
        for t in thresholds_at_shares(arriving, weights[samples], shares[router]):
            continuing = samples[arriving > t]
            spent = start[0] + costs[router, continuing].sum()
            gained = start[1] + gains[router, continuing].sum()
            yield from curves(continuing, (spent, gained), (*fixed, t))

    yield from curves(np.arange(len(order)), _first_expert(records, cost), ())


def _falling(scores, costs, gains, start, fixed, routers) -> Curve:
    """Sum what each sample adds, in the order in which a falling threshold meets it."""
    ends = _last_of_ties(scores)
    spent = np.append(0, np.cumsum(costs)[ends])
    gained = np.append(0, np.cumsum(gains)[ends])
    return Curve(
        scores=scores[ends],
        cost=np.round(start[0] + spent, DECIMALS),
        accuracy=np.round(start[1] + gained, DECIMALS),
        fixed=fixed,
        routers=routers,
    )


def _last_of_ties(scores: np.ndarray) -> np.ndarray:
    """Find where, in sorted scores, the next one differs; the last included."""
    return np.flatnonzero(np.diff(scores, append=-np.inf))


def _steps(records: RoutingRecords, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cost and accuracy that each further expert adds, per sample, both (N, E - 1)."""
    weights = records.weights[:, None]
    gains = np.diff(records.correct.astype(np.float64), axis=1)
    return weights * np.diff(cost), 100 * weights * gains


def _first_expert(records: RoutingRecords, cost: np.ndarray) -> tuple[float, float]:
    """Cost and accuracy where all samples use one expert."""
    return float(cost[0]), float(100 * records.weights[records.correct[:, 0]].sum())
