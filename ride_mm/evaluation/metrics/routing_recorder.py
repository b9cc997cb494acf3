"""Recorder of what every threshold setting of a routed model would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from ...models.losses import running_means

if TYPE_CHECKING:
    from ...analysis import PartCosts


@METRICS.register_module()
class RoutingRecorder(BaseMetric):
    """Records, for each sample, all scores and which numbers of experts are right.

    Needs a ``RouterHead`` with ``thresholds=0`` and ``keep_expert_logits=True``, so
    that every expert and router is asked. After an evaluation the main process has the
    records as attributes.

    Attributes:
        labels: Class of each sample, (N,) int64.
        correct: Whether the mean of the first k experts is right, in column k - 1,
            (N, E) bool.
        scores: Logit of each router, (N, E - 1) float32.
        class_counts: Training images of each class, (C,), or None.
        costs: Multiply-adds of trunk, experts and routers, or None.
        plain_macs: Multiply-adds of the plain network, or None.

    Args:
        collect_device: Of MMEngine's ``BaseMetric``.
        prefix: Of the names; ``routing`` by default.
    """

    default_prefix = 'routing'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)
        self.class_counts = self.costs = self.plain_macs = None

    def set_class_counts(self, class_counts: Sequence[int]) -> None:
        """Take the training images of each class, (C,)."""
        self.class_counts = class_counts

    def set_part_costs(self, costs: PartCosts, plain_macs: int | None) -> None:
        """Take what the parts of the model and the plain network cost."""
        self.costs, self.plain_macs = costs, plain_macs

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep (label, where it is right, scores) of each sample.

        Raises:
            ValueError: If not all experts and routers were asked.
        """
        for sample in data_samples:
            logits = sample.get('expert_logits')  # (E, C)
            scores = sample.get('router_scores', ())
            if logits is None or len(scores) != len(logits) - 1:
                raise ValueError(
                    'RoutingRecorder: expected the logits of all experts and routers, '
                    'of a RouterHead with thresholds=0 and keep_expert_logits=True, '
                    f'got {sorted(sample)}'
                )
            label = sample['gt_label'].item()
            means = running_means(logits[:, None])[:, 0]  # (E, C)
            correct = (means.argmax(-1) == label).tolist()
            self.results.append((label, correct, scores.tolist()))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Keep the records of all processes.

        Returns:
            ``samples``, their number.
        """
        labels, correct, scores = zip(*results, strict=True)
        self.labels = np.array(labels, dtype=np.int64)
        self.correct = np.array(correct, dtype=bool)
        self.scores = np.array(scores, dtype=np.float32)
        return dict(samples=len(labels))
