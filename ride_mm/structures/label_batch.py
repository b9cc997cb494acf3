"""The labels of a batch in one tensor."""

from collections.abc import Callable, Iterator, Sequence

import torch
from mmpretrain.structures import DataSample
from torch import Tensor


class LabelBatch(Sequence):
    """Labels of N images, which read like a list of MMPretrain's data samples.

    A data sample is made only when one is asked for, so that a batch which nobody looks
    into costs as much as three tensors. What is set on such a sample is not kept.

    Args:
        labels: Class indices, (N,), int64.
        sample_idx: Positions of the images in their dataset, (N,), int64.
        scores: Soft labels, (N, C), or None.
    """

    def __init__(
        self, labels: Tensor, sample_idx: Tensor, scores: Tensor | None = None
    ) -> None:
        if labels.ndim != 1 or labels.shape != sample_idx.shape:
            raise ValueError(
                'expected labels (N,) and sample_idx (N,), got '
                f'{tuple(labels.shape)} and {tuple(sample_idx.shape)}'
            )
        if scores is not None and (scores.ndim != 2 or len(scores) != len(labels)):
            raise ValueError(
                f'scores: expected ({len(labels)}, C), got {tuple(scores.shape)}'
            )
        self.labels = labels
        self.sample_idx = sample_idx
        self.scores = scores

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice) -> 'DataSample | LabelBatch':
        if isinstance(index, slice):
            return self._map(lambda part: part[index])
        index = range(len(self))[index]
        sample = DataSample(metainfo=dict(sample_idx=int(self.sample_idx[index])))
        sample.set_gt_label(self.labels[index : index + 1])
        if self.scores is not None:
            sample.set_gt_score(self.scores[index])
        return sample

    def __iter__(self) -> Iterator[DataSample]:
        return (self[i] for i in range(len(self)))

    def with_scores(self, scores: Tensor) -> 'LabelBatch':
        """The same images with soft labels (N, C)."""
        return LabelBatch(self.labels, self.sample_idx, scores)

    def to(self, device: torch.device, non_blocking: bool = False) -> 'LabelBatch':
        """The same labels on a device."""
        return self._map(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> 'LabelBatch':
        """The same labels in page-locked memory, as data loaders ask for it."""
        return self._map(lambda part: part.pin_memory())

    def _map(self, function: Callable[[Tensor], Tensor]) -> 'LabelBatch':
        scores = None if self.scores is None else function(self.scores)
        return LabelBatch(function(self.labels), function(self.sample_idx), scores)


def batch_targets(samples: Sequence[DataSample]) -> Tensor:
    """Targets of a batch: class indices (N,), or soft labels (N, C) where there are.

    Args:
        samples: N samples with labels, or a :class:`LabelBatch`.
    """
    if isinstance(samples, LabelBatch):
        return samples.labels if samples.scores is None else samples.scores
    if 'gt_score' in samples[0]:
        return torch.stack([sample.gt_score for sample in samples])
    return torch.cat([sample.gt_label for sample in samples])


def on_cpu(
    samples: Sequence[DataSample | None] | None,
) -> Sequence[DataSample | None] | None:
    """A :class:`LabelBatch` on the CPU; other samples, to be filled, as they are."""
    if isinstance(samples, LabelBatch):
        return samples.to(torch.device('cpu'))
    return samples
