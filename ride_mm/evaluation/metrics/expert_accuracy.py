"""Accuracy of each expert, and how much the experts differ."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS


def expert_accuracy(labels: np.ndarray, decisions: np.ndarray) -> dict[str, float]:
    """Accuracy and pairwise disagreement in percent.

    Args:
        labels: (N,).
        decisions: Of each expert on its own, (N, E).

    Returns:
        ``accuracy_e`` of each expert e from 1, ``disagreement_a-b`` (the share of
        samples on which a and b decide differently) of each pair, and the mean
        ``disagreement``, which is absent with one expert.
    """
    num_experts = decisions.shape[1]
    result = {
        f'accuracy_{e + 1}': 100 * np.mean(decisions[:, e] == labels)
        for e in range(num_experts)
    }
    disagreements = {
        f'disagreement_{a + 1}-{b + 1}': 100
        * np.mean(decisions[:, a] != decisions[:, b])
        for a, b in combinations(range(num_experts), 2)
    }
    if disagreements:
        result['disagreement'] = np.mean(list(disagreements.values()))
    result.update(disagreements)
    return {name: float(value) for name, value in result.items()}


@METRICS.register_module()
class ExpertAccuracy(BaseMetric):
    """Top-1 accuracy of each expert on its own, and pairwise disagreement, in percent.

    Needs ``expert_pred_label`` (E,) in each data sample, which ``MultiExpertHead``
    sets.

    Args:
        collect_device: Of MMEngine's ``BaseMetric``.
        prefix: Of the names; ``expert`` by default.
    """

    default_prefix = 'expert'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep the label and the experts' decisions of each sample.

        Raises:
            ValueError: If the model does not tell its experts' decisions.
        """
        for sample in data_samples:
            if 'expert_pred_label' not in sample:
                raise ValueError(
                    'ExpertAccuracy: expected expert_pred_label in the data samples, '
                    f'as MultiExpertHead sets it, got {sorted(sample)}'
                )
            decisions = sample['expert_pred_label'].tolist()
            self.results.append((sample['gt_label'].item(), decisions))

    def compute_metrics(self, results: list[tuple[int, list[int]]]) -> dict[str, float]:
        """Compute accuracies and disagreements."""
        labels, decisions = zip(*results, strict=True)
        return expert_accuracy(np.array(labels), np.array(decisions))
