"""Samples of a dataset: labels and names before any pipeline, and loaded by it."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
from torch.utils.data import Dataset

from .imbalance import class_counts_of
from .position import positioned


def sample_name(info: dict, position: int) -> str:
    """How to call a sample in an error: its file, or else its number."""
    return info.get('img_path') or f'image {info.get("official_index", position)}'


def read_samples(
    dataset: Dataset, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
    """Read what is known of each sample of a dataset.

    Args:
        dataset: A dataset of MMPretrain or MMEngine, fully initialised.
        classes: Names of the C classes.

    Returns:
        Labels (N,) and official indices (N,), int64, and N paths, None where a sample
        is no file.

    Raises:
        ValueError: If a label is not one integer from 0 to C - 1.
    """
    labels, official, paths = [], [], []
    for position in range(len(dataset)):
        info = dataset.get_data_info(position)
        label = info.get('gt_label')
        if not isinstance(label, (int, np.integer)):
            raise ValueError(
                f'{sample_name(info, position)}: expected gt_label to be one integer, '
                f'got {label!r}'
            )
        labels.append(int(label))
        official.append(int(info.get('official_index', position)))
        paths.append(info.get('img_path'))
    labels = np.array(labels, dtype=np.int64)
    names = [path or f'image {i}' for i, path in zip(official, paths, strict=True)]
    class_counts_of(labels, classes, allow_empty=True, names=names)
    official = np.array(official, dtype=np.int64)
    if len(np.unique(official)) < len(official):
        # Several files, each with a numbering of its own, were concatenated.
        official = np.arange(len(official))
    return labels, official, paths


def load_sample(
    dataset: Dataset, position: int, place: tuple[int, int, int] | None
) -> dict:
    """Load one sample of a dataset by its pipeline.

    Args:
        dataset: A dataset of MMPretrain or MMEngine, fully initialised.
        position: Of the sample.
        place: Seed, epoch and image that augmentation is drawn by, or None to draw it
            from the generators as they are.

    Returns:
        What the pipeline gives.

    Raises:
        RuntimeError: If that fails; it names the sample.
    """
    try:
        with nullcontext() if place is None else positioned(*place):
            sample = dataset[position]
        if sample is None:
            raise ValueError('the pipeline returned None')
    except Exception as err:
        name = sample_name(dataset.get_data_info(position), position)
        raise RuntimeError(f'cannot load {name}: {type(err).__name__}: {err}') from err
    return sample
