"""Which images are kept for the test."""

from collections.abc import Sequence

import numpy as np

from ..errors import UsageError
from .source import UNSPLIT, Source

# Of all images, by default.
FRACTION = 0.2


def kept_for_test(
    counts: Sequence[int],
    per_class: int | None = None,
    fraction: float | None = None,
) -> np.ndarray:
    """How many images of each class are kept for the test.

    Either the same number of each class, so that the mean over images is one over
    classes, or a share of each, so that the test is as long-tailed as the data. Rare
    classes need their images for training: of one image none is kept, of two or three
    one, of more at most a third, or at most half if a number or share is given.

    Args:
        counts: Images of each class, (C,).
        per_class: Images of each class; by default so many that they would be a fifth
            of all images.
        fraction: Share of each class, instead.

    Returns:
        Test images of each class, (C,), int64.
    """
    counts = np.asarray(counts, dtype=np.int64)
    limit = np.maximum(counts // 3, counts >= 2)
    if per_class is not None or fraction is not None:
        limit = counts // 2
    if fraction is not None:
        wanted = np.maximum(1, np.round(fraction * counts).astype(np.int64))
    else:
        wanted = per_class or max(1, round(FRACTION * float(counts.mean())))
    return np.minimum(wanted, limit)


def split_source(
    source: Source, per_class: int | None, fraction: float | None, seed: int
) -> None:
    """Split the images into training and test; a split that is there stays.

    The choice follows from the paths, the classes and the seed alone.

    Args:
        source: Is changed: it has the parts ``'train'`` and ``'test'`` afterwards, and
            those it had.
        per_class: Of :func:`kept_for_test`.
        fraction: Of :func:`kept_for_test`.
        seed: Of the choice.

    Raises:
        UsageError: If there is a split and another is asked for, or no class has two
            images.
    """
    if UNSPLIT not in source.parts:
        if per_class is not None or fraction is not None:
            raise UsageError(
                '--test-per-class and --test-fraction: expected images that are not '
                f'split yet, got the parts {", ".join(source.parts)}'
            )
        return
    wanted = kept_for_test(source.counts(UNSPLIT), per_class, fraction)
    if not wanted.any():
        raise UsageError(
            f'{source.root}: expected two images of a class at least, one of them for '
            'the test, got one of each class'
        )
    images = sorted(source.parts.pop(UNSPLIT))
    labels = np.array([label for _, label in images])
    stream = np.random.RandomState(seed)
    chosen = np.zeros(len(images), dtype=bool)
    for label, number in enumerate(wanted):
        positions = stream.permutation(np.flatnonzero(labels == label))
        chosen[positions[:number]] = True
    for part, mask in (('train', ~chosen), ('test', chosen)):
        source.parts[part] = [images[i] for i in np.flatnonzero(mask)]
