"""The protocol by which a module asks for the class counts of the training set."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


class ClassCountsMixin:
    """Gives an ``nn.Module`` a buffer with the training images of each class.

    A module that inherits from this declares that it wants the counts;
    ``ClassCountsHook`` finds it by walking the modules and calls
    :meth:`set_class_counts`. The counts live in a persistent buffer, hence in the
    checkpoint, so that testing and later stages do not need the training set. Counts
    that the config gives stay, whatever the training set or a checkpoint has.
    """

    class_counts: Tensor
    class_counts_are_given = False

    def init_class_counts(
        self, num_classes: int = 0, class_counts: Sequence[int] | None = None
    ) -> None:
        """Register the buffer; all zeros mean that the counts are not known yet."""
        self.register_buffer(
            'class_counts', torch.zeros(num_classes, dtype=torch.int64)
        )
        self._counts_known = False
        if class_counts is not None:
            self.set_class_counts(class_counts)
            self.class_counts_are_given = True

    def set_class_counts(self, class_counts: Sequence[int]) -> None:
        """Take the number of training images of each class, (C,).

        Raises:
            ValueError: If the length differs from the module's ``num_classes`` or a
                class has a negative number of images.
        """
        counts = torch.as_tensor(class_counts, device=self.class_counts.device)
        if counts.is_floating_point() or counts.ndim != 1:
            raise ValueError(
                f'class_counts of {type(self).__name__}: expected a list of whole '
                f'numbers, got {counts.dtype} of shape {tuple(counts.shape)}'
            )
        counts = counts.long()
        expected = getattr(self, 'num_classes', None)
        if expected is not None and len(counts) != expected:
            raise ValueError(
                f'{type(self).__name__}: expected num_classes={expected} classes, got '
                f'{len(counts)} class counts; does model.head.num_classes fit the data '
                'set?'
            )
        if counts.min() < 0:
            raise ValueError(
                f'class_counts of {type(self).__name__}: expected numbers of images '
                f'>= 0, got {counts.min().item()}'
            )
        self.class_counts = counts
        self._counts_known = bool(counts.sum() > 0)

    def known_class_counts(self) -> Tensor:
        """The counts, (C,) int64.

        Raises:
            RuntimeError: If nobody has set them.
        """
        # Asked once only: reading a CUDA buffer waits for the device.
        if not self._counts_known:
            self._counts_known = bool(self.class_counts.sum() > 0)
        if not self._counts_known:
            raise RuntimeError(
                f'{type(self).__name__} needs the class counts: expected '
                'ClassCountsHook in the hooks, a checkpoint that holds them, or '
                'class_counts=[...] in the config; got none of these'
            )
        return self.class_counts

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        key = prefix + 'class_counts'
        if self.class_counts_are_given and key in state_dict:
            state_dict[key] = self.class_counts
        counts = state_dict.get(key)
        if (
            counts is not None
            and getattr(self, 'num_classes', None) is None
            and counts.shape != self.class_counts.shape
        ):
            self.class_counts = torch.zeros_like(
                counts, device=self.class_counts.device
            )
        # Given counts remain: a change would have a step's graph recorded again.
        self._counts_known = self._counts_known and self.class_counts_are_given
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def modules_wanting_class_counts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of all that implement ``set_class_counts``."""
    for name, module in model.named_modules():
        if hasattr(module, 'set_class_counts'):
            yield name, module
