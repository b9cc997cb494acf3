"""Groups of classes by shots, the number of training images of a class."""

from collections.abc import Sequence

import numpy as np

SHOT_GROUPS = ('many', 'medium', 'few')


def shot_groups(
    class_counts: Sequence[int], many: int = 100, few: int = 20
) -> dict[str, np.ndarray]:
    """Split the classes into many-, medium- and few-shot.

    The convention of the field (Liu et al., OLTR, CVPR 2019, and all follow-ups): many
    has more than ``many`` training images, few has fewer than ``few``, medium the rest.

    Args:
        class_counts: Training images of each class, (C,).
        many: A class with more images than this is many-shot.
        few: A class with fewer images than this is few-shot.

    Returns:
        For each of ``'many'``, ``'medium'``, ``'few'`` the sorted class indices;
        an empty array where no class belongs to the group.

    Raises:
        ValueError: If ``few > many + 1``, so that a class would be in two groups.
    """
    if few > many + 1:
        raise ValueError(
            f'shot thresholds must not overlap: expected few <= many + 1, '
            f'got many={many}, few={few}'
        )
    counts = np.asarray(class_counts)
    return {
        'many': np.flatnonzero(counts > many),
        'medium': np.flatnonzero((counts <= many) & (counts >= few)),
        'few': np.flatnonzero(counts < few),
    }
