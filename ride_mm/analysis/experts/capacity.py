"""Accuracy against the room that the experts have at test time.

Riquelme et al., V-MoE, NeurIPS 2021, section 4: with Batch Priority Routing the least
important tokens are dropped first, so that a trained network can do with less room.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from .recording import moe_layers, record_routing


@dataclass(frozen=True)
class CapacityPoint:
    """A test with some room.

    Attributes:
        factor: Room of the experts, relative to tokens that are spread evenly.
        batch_priority: Whether tokens of a large gate are served first.
        accuracy: In percent.
        dropped: Share of assignments without room, over all layers.
        passed_by: Share of tokens that no expert of a layer took, over all layers.
    """

    factor: float
    batch_priority: bool
    accuracy: float
    dropped: float
    passed_by: float


def capacity_sweep(
    model: nn.Module,
    batches: Callable[[], Iterable[dict]],
    num_classes: int,
    factors: Sequence[float],
    advance: Callable[[int], object] = lambda images: None,
) -> list[CapacityPoint]:
    """Test with each room, in the tokens' order and by priority.

    Args:
        model: A classifier in eval mode; its settings are the same afterwards.
        batches: Gives the images anew for each test.
        num_classes: C.
        factors: Capacity factors to test with.
        advance: Is told the number of images done.

    Returns:
        For each factor a point without and one with priority; only the first where
        experts choose their tokens, which have no queue.

    Raises:
        ValueError: If a factor leaves no room for a token.
    """
    queues = all(hasattr(r, 'batch_priority') for r in _routers(model))
    points = []
    for factor in factors:
        for priority in (False, True) if queues else (False,):
            with room(model, factor, priority):
                layers, accuracy = record_routing(
                    model, batches(), num_classes, advance
                )
            asked = sum(layer.asked.sum() for layer in layers)
            kept = sum(layer.kept.sum() for layer in layers)
            alone = sum(layer.alone.sum() for layer in layers)
            tokens = sum(layer.tokens.sum() for layer in layers)
            points.append(
                CapacityPoint(
                    float(factor),
                    priority,
                    accuracy,
                    float(1 - kept / asked),
                    float(alone / tokens),
                )
            )
    return points


@contextmanager
def room(model: nn.Module, factor: float, batch_priority: bool) -> Iterator[None]:
    """Give all experts this room for tests, and the former one afterwards."""
    settings = [
        (router, name, getattr(router, name))
        for router in _routers(model)
        for name in ('eval_capacity_factor', 'batch_priority')
        if hasattr(router, name)
    ]
    new = dict(eval_capacity_factor=factor, batch_priority=batch_priority)
    try:
        for router, name, _ in settings:
            setattr(router, name, new[name])
        yield
    finally:
        for router, name, value in settings:
            setattr(router, name, value)


def _routers(model: nn.Module) -> list[nn.Module]:
    return [layer.router for layer in moe_layers(model).values()]
