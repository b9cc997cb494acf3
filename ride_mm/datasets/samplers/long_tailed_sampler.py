"""Sampler for re-sampling long-tailed data."""

from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from .resampling import class_probabilities, epoch_indices, images_by_class


@DATA_SAMPLERS.register_module()
class LongTailedSampler(Sampler[int]):
    """Draws a class by a rule, then the next image of that class.

    The images of a class come in cycles, each in a new shuffled order, within an epoch
    and across epochs: none comes twice before all others have come. An epoch is a
    function of (seed, epoch) alone, so a resumed run equals a straight one. The classes
    are drawn as :func:`~.resampling.class_probabilities` says; RIDE's second stage uses
    ``'class_balanced'``.

    Like MMEngine's ``DefaultSampler`` all processes share one list, of which process r
    of R takes the entries r, r + R, ...; the batches of R processes together are those
    of one process with an R times larger batch.

    Args:
        dataset: A dataset with ``get_gt_labels()``, such as ``LongTailed``.
        strategy: ``'class_balanced'``, ``'square_root'``, ``'effective_number'`` or
            ``'instance_balanced'``.
        beta: Of ``'effective_number'``, in [0, 1).
        seed: The same in all processes; by default MMEngine's.
        num_samples: Images in an epoch, over all processes. Defaults to the size of
            the dataset.
        round_up: Whether the list is filled up from its start, so that all processes
            get equally many.

    Raises:
        TypeError: If the dataset has no ``get_gt_labels``.
        ValueError: If a setting or a label is out of range, or there is no image.
    """

    def __init__(
        self,
        dataset: Sized,
        strategy: str = 'class_balanced',
        beta: float = 0.9999,
        seed: int | None = None,
        num_samples: int | None = None,
        round_up: bool = True,
    ) -> None:
        super().__init__()
        if not hasattr(dataset, 'get_gt_labels'):
            raise TypeError(
                'dataset: expected one with get_gt_labels(), such as LongTailed, got '
                f'{type(dataset).__name__}'
            )
        if num_samples is not None and not (
            isinstance(num_samples, int) and num_samples >= 1
        ):
            raise ValueError(
                f'num_samples: expected a whole number >= 1, got {num_samples!r}'
            )
        if seed is not None and seed < 0:
            raise ValueError(f'seed: expected at least 0, got {seed}')
        self._images = images_by_class(dataset.get_gt_labels())
        counts = [len(images) for images in self._images]
        if sum(counts) != len(dataset):
            raise ValueError(
                f'get_gt_labels(): expected {len(dataset)} labels, one for each image '
                f'of {type(dataset).__name__}, got {sum(counts)}'
            )
        self.probabilities = class_probabilities(counts, strategy, beta)
        self.dataset = dataset
        self.strategy = strategy
        self.beta = beta
        self.length = len(dataset) if num_samples is None else num_samples
        self.round_up = round_up
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be that of this epoch, from 0 on."""
        if epoch < 0:
            raise ValueError(f'epoch: expected at least 0, got {epoch}')
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        indices = epoch_indices(
            self._images, self.probabilities, self.length, self.seed, self.epoch
        )
        indices = np.resize(indices, self._total)  # repeats from the start
        return iter(indices[self.rank :: self.world_size].tolist())

    def __len__(self) -> int:
        return len(range(self.rank, self._total, self.world_size))

    @property
    def _total(self) -> int:
        """Entries of the list that the processes share."""
        missing = -self.length % self.world_size if self.round_up else 0
        return self.length + missing

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(strategy={self.strategy!r}, beta={self.beta}, '
            f'seed={self.seed}, num_samples={self.length}, round_up={self.round_up})'
        )
