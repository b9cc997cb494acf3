"""Figures of several runs: mean, standard deviation, each run."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A figure over runs.

    Attributes:
        mean: Over the runs.
        sd: Standard deviation, with n - 1 in its denominator; None for one run.
        values: Of each run.
    """

    mean: float
    sd: float | None
    values: tuple[float, ...]


def spread(values: Sequence[float]) -> Spread:
    """Summarise the figure of several runs.

    Raises:
        ValueError: If there is none.
    """
    if not values:
        raise ValueError('expected the figure of at least one run, got none')
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), sd, tuple(values))


def metrics_of(runs: Sequence[Mapping[str, object]]) -> dict[str, Spread]:
    """Summarise those metrics that are numbers in all runs, not lists, nor absent."""
    if not runs:
        return {}
    names = [n for n in runs[0] if all(_is_number(run.get(n)) for run in runs)]
    return {name: spread([float(run[name]) for run in runs]) for name in names}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
