"""What a routed model costs and achieves at given thresholds.

RIDE (Wang et al., ICLR 2021), section 3.3: a sample asks expert after expert until a
router says stop; the decision is the mean logits of the experts it used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ...evaluation import shot_accuracy
from .cost import RoutingCost
from .records import RoutingRecords


@dataclass(frozen=True)
class OperatingPoint:
    """Cost and accuracy at one setting of the thresholds.

    Attributes:
        thresholds: Of each router's logit, E - 1 of them: a sample continues where its
            score is above; ``-inf`` always, ``inf`` never.
        mean_experts: Experts used by a sample, on (weighted) average.
        shares: Share of the samples that used 1, 2, ..., E experts; sums to one.
        accuracy: In percent: ``all`` (weighted as the records are), and ``many``,
            ``medium``, ``few`` (class means); a group without a class is absent.
        macs: Multiply-adds of a sample, on average.
        macs_ratio: The same, relative to the plain network.
    """

    thresholds: tuple[float, ...]
    mean_experts: float
    shares: tuple[float, ...]
    accuracy: dict[str, float]
    macs: float
    macs_ratio: float

    @property
    def probabilities(self) -> tuple[float, ...]:
        """The thresholds as probabilities in [0, 1]."""
        return tuple(threshold_to_probability(self.thresholds).tolist())


def experts_used(scores: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """Count the experts each sample uses.

    Args:
        scores: Logits of the routers, (N, E - 1), finite.
        thresholds: Of each router, (E - 1,): a sample continues where its score is
            above; one that stopped never comes back.

    Returns:
        From 1 to E, (N,).

    Raises:
        ValueError: If there is not one threshold for each router, or one is NaN.
    """
    scores = np.asarray(scores)
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if thresholds.shape != scores.shape[1:]:
        raise ValueError(
            f'thresholds: expected {scores.shape[1]}, one for each router, got shape '
            f'{thresholds.shape}'
        )
    if np.isnan(thresholds).any():
        raise ValueError(f'thresholds: expected numbers, got {thresholds.tolist()}')
    continues = np.logical_and.accumulate(scores > thresholds, axis=1)  # (N, E - 1)
    return 1 + continues.sum(axis=1)


def evaluate_thresholds(
    records: RoutingRecords, thresholds: Sequence[float], cost: RoutingCost
) -> OperatingPoint:
    """Simulate routing with the given thresholds.

    Args:
        records: Of N samples and E experts.
        thresholds: Of each router's logit, (E - 1,).
        cost: Of 1 to E experts.

    Returns:
        Cost and accuracy.

    Raises:
        ValueError: If the numbers of experts do not agree, or a threshold is NaN.
    """
    cost.check_experts(records.num_experts)
    used = experts_used(records.scores, thresholds)
    shares = np.bincount(used - 1, records.weights, minlength=records.num_experts)
    shares /= shares.sum()  # exactly one where all samples use the same experts
    macs = float(shares @ np.array(cost.macs))
    return OperatingPoint(
        thresholds=tuple(map(float, thresholds)),
        mean_experts=float(shares @ np.arange(1, records.num_experts + 1)),
        shares=tuple(shares.tolist()),
        accuracy=_accuracy(records, used),
        macs=macs,
        macs_ratio=macs / cost.plain_macs,
    )


def _accuracy(records: RoutingRecords, used: np.ndarray) -> dict[str, float]:
    right = records.correct[np.arange(len(used)), used - 1]  # (N,)
    counts = records.class_counts
    images = np.bincount(records.labels, minlength=len(counts))
    hits = np.bincount(records.labels[right], minlength=len(counts))
    accuracy = shot_accuracy(images, hits, counts, records.many, records.few)
    del accuracy['class_mean']
    return accuracy | {'all': float(100 * records.weights[right].sum())}


def threshold_to_probability(thresholds: ArrayLike) -> np.ndarray:
    """Turn thresholds of logits into thresholds of probabilities, by the sigmoid.

    Only ``-inf`` becomes 0 and only ``inf`` becomes 1: a finite threshold beyond what
    double precision can tell from them (above 36 or below -708) becomes the nearest
    number inside.

    Args:
        thresholds: Of any shape.

    Returns:
        In [0, 1], of the same shape.

    Raises:
        ValueError: If one is NaN.
    """
    y = np.asarray(thresholds, dtype=np.float64)
    if np.isnan(y).any():
        raise ValueError(f'thresholds: expected numbers, got {y.tolist()}')
    with np.errstate(over='ignore'):
        p = 1 / (1 + np.exp(-y))
    inside = np.clip(p, np.finfo(np.float64).tiny, np.nextafter(1, 0))
    return np.where(np.isfinite(y), inside, p)


def probability_to_threshold(probabilities: ArrayLike) -> np.ndarray:
    """Turn thresholds of probabilities into thresholds of logits.

    Args:
        probabilities: In [0, 1], of any shape; 0 becomes ``-inf``, so that a sample
            always continues, and 1 becomes ``inf``.

    Returns:
        Thresholds of the same shape.

    Raises:
        ValueError: If one is NaN or outside [0, 1].
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f'probabilities: expected 0 to 1, got {p.tolist()}')
    with np.errstate(divide='ignore'):
        return np.log(p) - np.log1p(-p)
