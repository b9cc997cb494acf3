"""The subset that ``LongTailed`` takes: chosen, identified, described."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..utils.shots import shot_groups
from .imbalance import (
    class_counts_of,
    imbalanced_counts,
    official_subset,
    subset_hash,
)


def check_one_of(name: str, value: str | None, choices: Sequence[str | None]) -> None:
    """Refuse a value of a setting that is none of its choices.

    Raises:
        ValueError: With the choices.
    """
    if value not in choices:
        raise ValueError(f'{name}: expected one of {tuple(choices)}, got {value!r}')


def check_held_out(held_out: dict | None, part: str) -> None:
    """Refuse settings of held-out images that say nothing.

    Raises:
        ValueError: With what was expected.
    """
    known = {'fraction', 'per_class', 'seed'}
    if held_out is not None and not (
        isinstance(held_out, dict) and set(held_out) <= known
    ):
        raise ValueError(
            'held_out: expected None, dict(fraction=0.1) or dict(per_class=5), '
            f'with a seed or not, got {held_out!r}'
        )
    if part == 'val' and held_out is None:
        raise ValueError("part='val': expected held_out to be set, got None")


def choose_subset(
    labels: np.ndarray,
    classes: Sequence[str],
    imbalance: str | None,
    factor: float,
    n_max: int | None,
    seed: int,
) -> np.ndarray:
    """Choose the images of a long-tailed subset.

    Args:
        labels: Label of each image, (N,).
        classes: Names of the C classes.
        imbalance: Kind of imbalance, None for all images.
        factor: Imbalance factor.
        n_max: Images of the largest class, None for the size of the smallest one.
        seed: Seed of the choice.

    Returns:
        Positions of the images, under ``imbalance`` in the order of the official code.

    Raises:
        ValueError: If classes have too few images.
    """
    if imbalance is None:
        return np.arange(len(labels))
    sizes = class_counts_of(labels, classes)
    largest = sizes.min() if n_max is None else n_max
    counts = imbalanced_counts(largest, len(sizes), imbalance, factor)
    return np.array(official_subset(labels, counts, seed), dtype=np.int64)


def known_hashes(
    expected: str | Mapping[str, str] | None,
    imbalance: str | None,
    factor: float,
    n_max: int | None,
    seed: int,
) -> tuple[str, ...]:
    """Hashes that a subset may have.

    Args:
        expected: One hash, or a hash by setting, such as ``{'exp-100': ...}``, or None.
        imbalance: Kind of imbalance, None for a data set that is taken as it is.
        factor: Imbalance factor.
        n_max: Images of the largest class, None for all that there are.
        seed: Seed of the choice; the published subsets have 0.

    Returns:
        The hash of the setting; of a data set that is taken as it is, thus may already
        be a subset, all hashes; nothing where none is known and any will do.
    """
    if expected is None:
        return ()
    if isinstance(expected, str):
        return (expected,)
    if imbalance is None:
        return tuple(expected.values())
    setting = f'{imbalance}-{factor:g}'
    published = n_max is None and seed == 0 and setting in expected
    return (expected[setting],) if published else ()


def check_hash(got: str, known: Sequence[str], name: str) -> None:
    """Refuse a subset that is none of those that are known.

    Args:
        got: Its hash.
        known: Hashes that it may have, any if there are none.
        name: Of the data set.

    Raises:
        ValueError: If it has another one.
    """
    if known and got not in known:
        one_of = repr(known[0]) if len(known) == 1 else f'one of {tuple(known)}'
        raise ValueError(
            f'subset of {name}: expected_hash is {one_of}, got {got!r}; if this subset '
            f'is meant, set expected_hash={got!r}, or None to accept any'
        )


def describe_subset(number: int, class_counts: np.ndarray, subset: str) -> str:
    """Describe a subset in a line.

    Args:
        number: Of its images.
        class_counts: Training images of each class, (C,).
        subset: Its hash.
    """
    sizes = [len(group) for group in shot_groups(class_counts).values()]
    smallest = class_counts.min()
    factor = class_counts.max() / smallest if smallest else float('inf')
    return (
        f'{number:,} images, {len(class_counts)} classes with {class_counts.max()}..'
        f'{smallest} training images (imbalance factor {factor:g}), many / medium / '
        f'few {sizes[0]} / {sizes[1]} / {sizes[2]}, subset {subset}'
    )


def check_is_known(
    official: np.ndarray, known: Sequence[str], name: str, imbalance: str
) -> None:
    """Refuse files that hold a subset already, unless it is the one that is wanted.

    Args:
        official: Rows of the images in the official files, (N,).
        known: Hashes that the wanted subset may have.
        name: Of the data set.
        imbalance: What is wanted.

    Raises:
        ValueError: If it is another subset, or one that nobody knows.
    """
    if subset_hash(official) not in known:
        raise ValueError(
            f'{name} already is a subset of the official training set '
            f'({len(official)} images, by the indices in its file): expected '
            f'imbalance=None, got imbalance={imbalance!r}'
        )
