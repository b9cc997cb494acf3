"""Which experts see the tokens of which classes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...models.layers.moe import ExpertsChoose, MoELayer, TokensChoose


@dataclass(frozen=True, eq=False)
class LayerRouting:
    """What the router of one layer did, C classes and E experts.

    Where experts choose their tokens, what was asked for is what was given.

    Attributes:
        name: Of the layer in the model.
        asked: How often a token of a class selected an expert, (C, E).
        kept: How often it found room there, (C, E).
        tokens: Tokens of each class, (C,).
        alone: Those that no expert took, (C,).
        room: Places in the buffers of all experts.
    """

    name: str
    asked: np.ndarray
    kept: np.ndarray
    tokens: np.ndarray
    alone: np.ndarray
    room: int

    @property
    def by_class(self) -> np.ndarray:
        """Share of a class's assignments that goes to each expert, (C, E).

        Rows sum to 1; NaN for a class without tokens.
        """
        total = self.asked.sum(1, keepdims=True)
        return np.where(total > 0, self.asked / np.maximum(total, 1), np.nan)

    @property
    def load(self) -> np.ndarray:
        """Tokens that an expert took, relative to an even spread, (E,)."""
        taken = self.kept.sum(0)
        return taken / max(taken.mean(), 1e-12)

    @property
    def dropped(self) -> float:
        """Share of assignments without room."""
        return 1 - self.kept.sum() / self.asked.sum()

    @property
    def passed_by(self) -> float:
        """Share of tokens that no expert took."""
        return self.alone.sum() / self.tokens.sum()

    @property
    def filled(self) -> float:
        """Share of the room that was used."""
        return self.kept.sum() / self.room

    @property
    def information(self) -> float:
        """What the expert of an assignment tells of the class, in bits.

        0 if all classes go to the experts alike; at most the logarithm of E.
        """
        joint = self.asked / self.asked.sum()
        even = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        there = joint > 0
        return float((joint[there] * np.log2(joint[there] / even[there])).sum())


def moe_layers(model: nn.Module) -> dict[str, MoELayer]:
    """The layers of experts by their name in the model.

    Raises:
        ValueError: If there are none.
    """
    found = {n: m for n, m in model.named_modules() if isinstance(m, MoELayer)}
    if not found:
        raise ValueError(
            f'model: expected layers of experts (MoELayer), got a '
            f'{type(model).__name__} without'
        )
    return found


class RoutingRecorder:
    """Counts what the routers of a model do while it is attached.

    Args:
        model: With layers of experts.
        num_classes: C.

    Raises:
        ValueError: If the model has none.
    """

    def __init__(self, model: nn.Module, num_classes: int) -> None:
        self.layers = moe_layers(model)
        self.num_classes = num_classes
        # Of the images that are being computed, (N,).
        self.labels: Tensor | None = None
        self._tables = {
            name: _Table(num_classes, layer.router.num_experts)
            for name, layer in self.layers.items()
        }

    @contextmanager
    def attached(self) -> Iterator['RoutingRecorder']:
        """Count what is computed inside."""
        handles = []
        for name, layer in self.layers.items():
            table = self._tables[name]
            handles += [
                layer.register_forward_pre_hook(self._before(table)),
                layer.router.register_forward_hook(table.count),
            ]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, table: '_Table') -> Callable:
        def begin(layer: nn.Module, args: tuple) -> None:
            images, length = args[0].shape[:2]
            if self.labels is None or len(self.labels) != images:
                raise ValueError(
                    f'expected the class of each of {images} images, got '
                    f'{"none" if self.labels is None else len(self.labels)}'
                )
            table.begin(self.labels.repeat_interleave(length))

        return begin

    def results(self) -> list[LayerRouting]:
        """What was counted, layer by layer.

        Raises:
            ValueError: If nothing was.
        """
        if not all(table.tokens.any() for table in self._tables.values()):
            raise ValueError('expected images, got none')
        return [table.result(name) for name, table in self._tables.items()]


class _Table:
    """Counts of one layer."""

    def __init__(self, num_classes: int, num_experts: int) -> None:
        self.shape = num_classes, num_experts
        self.asked = torch.zeros(self.shape, dtype=torch.int64)
        self.kept = torch.zeros(self.shape, dtype=torch.int64)
        self.tokens = torch.zeros(num_classes, dtype=torch.int64)
        self.alone = torch.zeros(num_classes, dtype=torch.int64)
        self.room = 0

    def begin(self, labels: Tensor) -> None:
        """Take the class of each token of the groups that follow."""
        self._labels = labels

    def count(self, router: nn.Module, args: tuple, output: tuple) -> None:
        """Count what a router gives for groups (G, S, D)."""
        choice = output[0]
        groups, size = args[0].shape[:2]
        labels = self._labels[: groups * size].view(groups, size)
        self._labels = self._labels[groups * size :]
        self.tokens += self._classes(labels)
        self.room += groups * choice.capacity * choice.num_experts
        if isinstance(choice, TokensChoose):
            pairs = self._pairs(
                labels[..., None].expand_as(choice.experts), choice.experts
            )
            self.asked += self._matrix(pairs)
            self.kept += self._matrix(pairs[choice.kept])
            self.alone += self._classes(labels[~choice.kept.any(-1)])
            return
        self._count_chosen(choice, labels)

    def _count_chosen(self, choice: ExpertsChoose, labels: Tensor) -> None:
        experts = torch.arange(choice.num_experts, device=labels.device)[:, None]
        index = choice.tokens.flatten(1)
        taken = labels.gather(1, index).view_as(choice.tokens)
        counted = self._matrix(self._pairs(taken, experts.expand_as(choice.tokens)))
        self.asked += counted
        self.kept += counted
        lone = torch.ones_like(labels, dtype=torch.bool).scatter_(1, index, False)
        self.alone += self._classes(labels[lone])

    def _pairs(self, labels: Tensor, experts: Tensor) -> Tensor:
        return labels * self.shape[1] + experts

    def _matrix(self, pairs: Tensor) -> Tensor:
        size = self.shape[0] * self.shape[1]
        return torch.bincount(pairs.flatten(), minlength=size).view(self.shape).cpu()

    def _classes(self, labels: Tensor) -> Tensor:
        return torch.bincount(labels.flatten(), minlength=self.shape[0]).cpu()

    def result(self, name: str) -> LayerRouting:
        """The counts as arrays."""
        counts = (self.asked, self.kept, self.tokens, self.alone)
        return LayerRouting(name, *(c.numpy().copy() for c in counts), self.room)


@torch.no_grad()
def record_routing(
    model: nn.Module,
    batches: Iterable[dict],
    num_classes: int,
    advance: Callable[[int], object] = lambda images: None,
) -> tuple[list[LayerRouting], float]:
    """Run labelled images through a classifier, and count what its routers do.

    Args:
        model: In eval mode.
        batches: Of MMPretrain, each a dict of ``inputs`` and ``data_samples``.
        num_classes: C.
        advance: Is told the number of images done.

    Returns:
        What each layer did, and the accuracy in percent.

    Raises:
        ValueError: If there are no images, no layers of experts, or other classes.
    """
    recorder = RoutingRecorder(model, num_classes)
    correct = images = 0
    with recorder.attached():
        for batch in batches:
            data = model.data_preprocessor(batch, False)
            labels = torch.cat([s.gt_label.view(-1) for s in data['data_samples']])
            if len(labels) != len(data['inputs']):
                raise ValueError('expected images of one class each, got several')
            if labels.min() < 0 or labels.max() >= num_classes:
                raise ValueError(
                    f'labels: expected 0 to {num_classes - 1}, got '
                    f'{labels.min()} to {labels.max()}'
                )
            recorder.labels = labels.to(data['inputs'].device)
            logits = model(data['inputs'], mode='tensor')
            correct += (logits.argmax(1) == recorder.labels).sum().item()
            images += len(labels)
            advance(len(labels))
    return recorder.results(), 100 * correct / images
