"""What is known of a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..experiments import Spread, metrics_of
from .rows import Row


@dataclass(frozen=True)
class Found:
    """What is known of a row under a schedule.

    Attributes:
        row: The row.
        finished: Records of its finished trainings by seed.
        others: States of its other trainings by seed.
    """

    row: Row
    finished: Mapping[int, Mapping[str, Any]]
    others: Mapping[int, str]

    @property
    def figures(self) -> dict[str, Spread]:
        """Metrics over the seeds."""
        return metrics_of([record['metrics'] for record in self.finished.values()])
