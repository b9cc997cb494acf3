"""The order of the channels of images that are not loaded from image files."""

from typing import Any

from mmpretrain.datasets import CIFAR10

from ..utils.wrapped import innermost_dataset
from .cifar import LTCIFAR10


def channel_order(dataset: Any) -> str | None:
    """Order of a dataset's channels before any pipeline.

    Args:
        dataset: A dataset, wrapped or not.

    Returns:
        ``'BGR'`` for the CIFAR datasets of ride_mm, ``'RGB'`` for those of MMPretrain,
        None for others, which do not say.
    """
    dataset = innermost_dataset(dataset)
    if isinstance(dataset, LTCIFAR10):
        return 'BGR'
    return 'RGB' if isinstance(dataset, CIFAR10) else None
