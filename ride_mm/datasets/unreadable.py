"""Training images that cannot be loaded, skipped or replaced."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..utils.listing import first_few
from .position import position_seed

POLICIES = ('stop', 'skip')
MAX_NAMED = 5


class Replacements:
    """Puts other images of their class in the place of images that cannot be loaded.

    Which one follows from the place (seed, epoch, image) alone: it matters neither
    which worker meets it nor where a run was resumed. Images that were found are marked
    in shared memory, so that the main process can name what its workers met.

    Args:
        labels: Label of each image, (N,).
        faulty: Which images are known to be unusable and not even tried, (N,), bool.
        classes: Names of the C classes.

    Raises:
        RuntimeError: If all images of a class are unusable.
    """

    def __init__(
        self, labels: np.ndarray, faulty: np.ndarray, classes: Sequence[str]
    ) -> None:
        lost = np.setdiff1d(labels, labels[~faulty])
        if len(lost):
            raise RuntimeError(
                "unreadable='skip': expected a usable image of each class, got none "
                f'of {first_few(repr(str(classes[c])) for c in lost)}'
            )
        self._labels = labels
        self._faulty = faulty
        self._found = torch.from_numpy(faulty.astype(np.uint8)).share_memory_()

    @property
    def found(self) -> torch.Tensor:
        """Which images could not be loaded so far, (N,), uint8, 0 or 1."""
        return self._found.clone()

    def load(
        self, index: int, place: Sequence[int], load: Callable[[int], dict]
    ) -> dict:
        """Load an image, or else the first other one of its class that can be loaded.

        Args:
            index: Of the image.
            place: Non-negative integers that decide about the replacement.
            load: Loads the image of an index.

        Returns:
            The sample.

        Raises:
            MemoryError: If there is too little of it, which no image is to blame for.
            RuntimeError: If no image of the class can be loaded.
        """
        failure = None
        for candidate in self._candidates(index, place):
            try:
                return load(candidate)
            except Exception as err:
                if isinstance(err.__cause__ or err, MemoryError):
                    raise
                self._found[candidate] = 1
                failure = failure or err
        raise RuntimeError(
            f'{failure}; nor can any other image of its class'
        ) from failure

    def _candidates(self, index: int, place: Sequence[int]) -> Iterator[int]:
        if not self._faulty[index]:
            yield index
        others = (self._labels == self._labels[index]) & ~self._faulty
        others[index] = False
        stream = np.random.RandomState(position_seed(*place) & 0xFFFFFFFF)
        yield from stream.permutation(np.flatnonzero(others)).tolist()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._found.share_memory_()


def describe_unreadable(names: Sequence[str], number: int, total: int) -> str:
    """Say how many images were replaced so far, and name the first.

    Args:
        names: Of the first ones.
        number: Of the images that could not be loaded.
        total: Of all training images.
    """
    more = f' and {number - len(names):,} more' if number > len(names) else ''
    return (
        f'{number:,} of {total:,} training images could not be loaded so far, and '
        f"others of their class took their place (unreadable='skip'): "
        f'{", ".join(names)}{more}'
    )
