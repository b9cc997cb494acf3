"""What a routed model does on labelled data, recorded once for every threshold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ...utils.shots import shot_groups

WEIGHTINGS = ('classes', 'images')


@dataclass(frozen=True, eq=False)
class RoutingRecords:
    """Scores of the routers, and where each number of experts is right.

    Router i (from 0) is asked after expert i + 1 (from 1). Its score is recorded for
    every sample, as if all had come so far; so any thresholds can be simulated exactly.

    Attributes:
        labels: Class of each sample, (N,).
        correct: Whether the mean logits of the first k experts are right, in column
            k - 1, (N, E) bool.
        scores: Logit y of each router, (N, E - 1), finite.
        class_counts: Training images of each class, (C,).
        weights: Weight of each sample, (N,), positive; kept with a sum of one.
        many: A class with more training images is many-shot.
        few: A class with fewer training images is few-shot.

    Raises:
        ValueError: If shapes, types or values are others.
    """

    labels: np.ndarray
    correct: np.ndarray
    scores: np.ndarray
    class_counts: np.ndarray
    weights: np.ndarray
    many: int = 100
    few: int = 20

    def __post_init__(self) -> None:
        labels = _integers('labels', self.labels)
        counts = _integers('class_counts', self.class_counts)
        correct = np.asarray(self.correct)
        scores = np.asarray(self.scores, dtype=np.float64)
        weights = np.asarray(self.weights, dtype=np.float64)
        if len(labels) == 0:
            raise ValueError('labels: expected at least one sample, got none')
        if labels.min() < 0 or labels.max() >= len(counts):
            raise ValueError(
                f'labels: expected 0 to {len(counts) - 1}, one class for each of the '
                f'class counts, got {labels.min()} to {labels.max()}'
            )
        if counts.min() < 0:
            raise ValueError(f'class_counts: expected none below 0, got {counts.min()}')
        if correct.dtype != bool or correct.ndim != 2 or correct.shape[1] < 2:
            raise ValueError(
                f'correct: expected bool of shape (N, E) with at least 2 experts, got '
                f'{correct.dtype} of shape {correct.shape}'
            )
        _check_shape('correct', correct, (len(labels), correct.shape[1]))
        _check_shape('scores', scores, (len(labels), correct.shape[1] - 1))
        _check_shape('weights', weights, (len(labels),))
        for name, values in (('scores', scores), ('weights', weights)):
            bad = values[~np.isfinite(values)]
            if len(bad):
                raise ValueError(
                    f'{name}: expected finite numbers, got {bad[0]} ({len(bad)} of '
                    f'{values.size} are not finite)'
                )
        if weights.min() <= 0:
            raise ValueError(f'weights: expected all above 0, got {weights.min()}')
        shot_groups([], self.many, self.few)  # refuses thresholds that overlap
        arrays = dict(
            labels=labels,
            correct=correct,
            scores=scores,
            class_counts=counts,
            weights=weights / weights.sum(),
        )
        for name, array in arrays.items():
            object.__setattr__(self, name, array)

    @property
    def num_experts(self) -> int:
        """E."""
        return self.correct.shape[1]


def routing_records(
    labels: ArrayLike,
    correct: ArrayLike,
    scores: ArrayLike,
    class_counts: ArrayLike,
    weighting: str = 'classes',
    many: int = 100,
    few: int = 20,
) -> RoutingRecords:
    """Make records in which classes or images count equally.

    Args:
        labels: Class of each sample, (N,).
        correct: Whether the mean of the first k experts is right, (N, E) bool.
        scores: Logit of each router, (N, E - 1).
        class_counts: Training images of each class, (C,).
        weighting: See :func:`sample_weights`.
        many: A class with more training images is many-shot.
        few: A class with fewer training images is few-shot.

    Returns:
        The records.

    Raises:
        ValueError: If shapes, types or values are others.
    """
    weights = sample_weights(_integers('labels', labels), weighting)
    return RoutingRecords(labels, correct, scores, class_counts, weights, many, few)


def sample_weights(labels: np.ndarray, weighting: str = 'classes') -> np.ndarray:
    """Weigh samples so that classes, or images, count equally.

    Args:
        labels: Class of each sample, (N,).
        weighting: ``'classes'``: a sample weighs 1 / (samples of its class), so that
            data as long-tailed as the training set serve like balanced ones;
            ``'images'``: every sample weighs the same.

    Returns:
        Weights, (N,), not normalised.

    Raises:
        ValueError: If the weighting is unknown.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f'weighting: expected one of {WEIGHTINGS}, got {weighting!r}')
    if weighting == 'images':
        return np.ones(len(labels))
    _, inverse, images = np.unique(labels, return_inverse=True, return_counts=True)
    return 1 / images[inverse]


def _integers(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f'{name}: expected a row of integers, got {array.dtype} of shape '
            f'{array.shape}'
        )
    return array


def _check_shape(name: str, array: np.ndarray, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise ValueError(f'{name}: expected shape {expected}, got {array.shape}')
