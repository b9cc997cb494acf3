"""The way of the routers' losses from their layers to the classifier.

A backbone returns features only. The classifier therefore collects reports in a list
during its forward pass, and each layer of experts appends one. Nothing is kept in a
module, so what activation checkpointing computes again during the backward pass is not
counted twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Report:
    """What one layer of experts tells of one forward pass.

    Attributes:
        layer: The layer.
        loss: Weighted sum of the router's losses of each group, (G,); None if the
            router has none.
        terms: The losses before weighting and other figures by name, (G,) each.
    """

    layer: nn.Module
    loss: Tensor | None
    terms: dict[str, Tensor]


_reports: ContextVar[list[Report] | None] = ContextVar('moe_reports', default=None)


@contextmanager
def collect_reports() -> Iterator[list[Report]]:
    """Collect what the layers report of the forward passes inside."""
    token = _reports.set([])
    try:
        yield _reports.get()
    finally:
        _reports.reset(token)


def is_collecting() -> bool:
    """Whether anyone wants reports."""
    return _reports.get() is not None


def add_report(report: Report) -> None:
    """Add a report for the innermost :func:`collect_reports`, if there is one."""
    if (reports := _reports.get()) is not None:
        reports.append(report)
