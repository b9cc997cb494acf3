"""Which images a long-tailed subset of a balanced dataset keeps.

The subset of Cao et al. (LDAM-DRW, NeurIPS 2019,
https://github.com/kaidic/LDAM-DRW), which the field calls CIFAR-10-LT and CIFAR-100-LT
and on which RIDE is measured, reproduced index by index.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from ..utils.listing import first_few

IMBALANCES = ('exp', 'step')


def imbalanced_counts(
    n_max: float, num_classes: int, kind: str = 'exp', factor: float = 100.0
) -> np.ndarray:
    """Images each class keeps under an artificial imbalance.

    ``exp``: ``n_c = int(n_max * factor ** (-c / (C - 1)))``. ``step``: ``n_max`` for
    the first ``C // 2`` classes, ``int(n_max / factor)`` for the rest.

    Args:
        n_max: Images of the first, largest class.
        num_classes: Number of classes C.
        kind: ``'exp'`` or ``'step'``.
        factor: Imbalance factor, largest over smallest class.

    Returns:
        Counts in label order, (C,), int64.

    Raises:
        ValueError: If an argument is out of range or a class would keep no image.
    """
    if kind not in IMBALANCES:
        raise ValueError(f'imbalance: expected one of {IMBALANCES}, got {kind!r}')
    if not factor >= 1:
        raise ValueError(f'imbalance factor: expected a number >= 1, got {factor}')
    if num_classes < 2:
        raise ValueError(f'num_classes: expected at least 2, got {num_classes}')
    # The official order of operations: another one rounds some counts differently.
    ratio = 1 / factor
    if kind == 'exp':
        exact = [n_max * ratio ** (c / (num_classes - 1.0)) for c in range(num_classes)]
    else:
        half = num_classes // 2
        exact = [n_max] * half + [n_max * ratio] * (num_classes - half)
    counts = np.array([int(n) for n in exact], dtype=np.int64)
    if counts.min() < 1:
        empty = np.flatnonzero(counts < 1)
        raise ValueError(
            f'{kind} imbalance with n_max={n_max} and factor={factor} leaves no image '
            f'of {len(empty)} of {num_classes} classes, the first is {empty[0]}: '
            f'expected a larger n_max, or a smaller factor'
        )
    return counts


def official_subset(
    labels: Sequence[int], counts: Sequence[int], seed: int = 0
) -> list[int]:
    """Choose ``counts[c]`` images of each class as Cao et al. do.

    Class after class, in label order, the class's indices are shuffled by one stream
    seeded once and the first ``counts[c]`` are kept. The stream is a private copy of
    the one that ``numpy.random.seed(seed)`` starts.

    Args:
        labels: Label of each image, (N,).
        counts: Images to keep of each class, (C,).
        seed: Seed of the stream; the published subsets have 0.

    Returns:
        Indices into ``labels`` in official order: by class, shuffled within a class.

    Raises:
        ValueError: If a class has fewer images than asked.
    """
    labels = np.asarray(labels)
    stream = np.random.RandomState(seed)
    chosen: list[int] = []
    for label, count in enumerate(counts):
        indices = np.flatnonzero(labels == label)
        if len(indices) < count:
            raise ValueError(
                f'class {label}: expected at least {count} images to choose from, '
                f'got {len(indices)}'
            )
        stream.shuffle(indices)
        chosen.extend(indices[:count].tolist())
    return chosen


def subset_hash(indices: Sequence[int]) -> str:
    """Sixteen hexadecimal digits that identify a set of indices, whatever its order."""
    data = np.sort(np.asarray(indices, dtype='<i8')).tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def held_out_split(
    labels: Sequence[int],
    fraction: float | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Split a training set into the part to train on and a held-out part.

    Of a class with n images, ``fraction * n`` (rounded, at least one) or ``per_class``
    are held out, but never all: one image of each class stays in training.

    Args:
        labels: Label of each image, (N,).
        fraction: Share of each class to hold out, in (0, 1).
        per_class: Images of each class to hold out, instead of ``fraction``.
        seed: Seed of the choice.

    Returns:
        Sorted positions of the training part and of the held-out part.

    Raises:
        ValueError: If not exactly one of ``fraction`` and ``per_class`` is given, or it
            is out of range.
    """
    if (fraction is None) == (per_class is None):
        raise ValueError(
            f'held_out: expected either fraction or per_class, got fraction={fraction} '
            f'and per_class={per_class}'
        )
    if fraction is not None and not 0 < fraction < 1:
        raise ValueError(
            f'held_out fraction: expected 0 < fraction < 1, got {fraction}'
        )
    if per_class is not None and per_class < 1:
        raise ValueError(f'held_out per_class: expected at least 1, got {per_class}')
    labels = np.asarray(labels)
    stream = np.random.RandomState(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        positions = stream.permutation(np.flatnonzero(labels == label))
        wanted = per_class or max(1, round(fraction * len(positions)))
        held_out[positions[: min(wanted, len(positions) - 1)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def class_counts_of(
    labels: Sequence[int],
    classes: Sequence[str],
    allow_empty: bool | None = None,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Count the images of each class and refuse labels that do not fit the classes.

    Args:
        labels: Label of each image, (N,).
        classes: Names of the C classes.
        allow_empty: Whether a class may have no image; None where nobody can allow it.
        names: How to call each image in an error, (N,); its position by default.

    Returns:
        Images of each class, (C,), int64.

    Raises:
        ValueError: If a label is outside [0, C) or a class has no image.
    """
    labels = np.asarray(labels, dtype=np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        first = int(wrong[0])
        name = names[first] if names is not None else f'image {first}'
        raise ValueError(
            f'{name}: expected a label in [0, {len(classes) - 1}], got {labels[first]}'
            f' ({len(wrong)} of {len(labels)} labels are out of range)'
        )
    counts = np.bincount(labels, minlength=len(classes))
    empty = np.flatnonzero(counts == 0)
    if len(empty) and not allow_empty:
        hint = '' if allow_empty is None else '; allow_empty=True accepts this'
        raise ValueError(
            f'expected an image of each of the {len(classes)} classes, got none of '
            f'{len(empty)}: {first_few(f"{classes[c]!r} ({c})" for c in empty)}{hint}'
        )
    return counts
