"""How many experts the samples use, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmpretrain.registry import METRICS

from ...utils.shots import shot_groups

if TYPE_CHECKING:
    from ...analysis import PartCosts


def expert_usage(
    labels: np.ndarray,
    used: np.ndarray,
    num_experts: int,
    class_counts: Sequence[int] | None = None,
    many: int = 100,
    few: int = 20,
) -> dict[str, float]:
    """Summarise how many experts the samples use.

    Args:
        labels: (N,).
        used: Number of experts of each sample, 1 to E, (N,).
        num_experts: E.
        class_counts: Training images of each class, (C,), for the figures by shots.
        many: A class with more training images is many-shot.
        few: A class with fewer training images is few-shot.

    Returns:
        ``mean_experts``, and ``share_k``, the percentage of samples that used k
        experts, for k = 1..E. With ``class_counts`` the same by shots,
        ``mean_experts_many`` and ``share_1_many`` and so on: means over the classes of
        a group (RIDE, figure 5); classes without a sample do not count, a group without
        a class is absent.

    Raises:
        ValueError: If a sample used fewer than 1 or more than E experts, or a label is
            not that of a class.
    """
    wrong = used[(used < 1) | (used > num_experts)]
    if len(wrong):
        raise ValueError(f'num_experts: expected 1 to {num_experts}, got {wrong[0]}')
    result = _summary(np.bincount(used - 1, minlength=num_experts) / len(used))
    if class_counts is None:
        return result
    counts = np.asarray(class_counts)
    if labels.min() < 0 or labels.max() >= len(counts):
        raise ValueError(
            f'test labels: expected 0 to {len(counts) - 1}, one class for each of the '
            f'class counts, got {labels.min()} to {labels.max()}'
        )
    samples = np.zeros((len(counts), num_experts))
    np.add.at(samples, (labels, used - 1), 1)
    images = samples.sum(axis=1)
    tested = images > 0
    shares = samples[tested] / images[tested, None]  # of each class, (C, E)
    for group, classes in shot_groups(counts[tested], many, few).items():
        if len(classes):
            result.update(_summary(shares[classes].mean(axis=0), f'_{group}'))
    return result


def _summary(shares: np.ndarray, suffix: str = '') -> dict[str, float]:
    numbers = range(1, len(shares) + 1)
    result = {f'mean_experts{suffix}': float(shares @ np.array(numbers))}
    named = zip(numbers, shares, strict=True)
    result.update({f'share_{k}{suffix}': float(100 * share) for k, share in named})
    return result


@METRICS.register_module()
class ExpertUsage(BaseMetric):
    """How many experts a routed model uses, by shots too, and what that costs.

    Names, each after ``expert_usage/``: those of :func:`expert_usage`; ``mean_macs``,
    the millions of multiply-adds of an image on average, routers included; and
    ``macs_ratio``, these relative to the plain network, one expert of full width. Needs
    ``num_experts`` in each data sample, which ``RouterHead`` sets. Without class counts
    the figures by shots are absent, without ``ExpertCostHook`` those in multiply-adds.

    Args:
        many: A class with more training images is many-shot.
        few: A class with fewer training images is few-shot.
        class_counts: Training images of each class, (C,); by default handed over by
            ``ClassCountsHook``, which takes them from the training set or checkpoint.
        collect_device: Of MMEngine's ``BaseMetric``.
        prefix: Of the names; ``expert_usage`` by default.
    """

    default_prefix = 'expert_usage'

    def __init__(
        self,
        many: int = 100,
        few: int = 20,
        class_counts: Sequence[int] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        shot_groups([], many, few)  # refuses thresholds that overlap
        self.many = many
        self.few = few
        self.class_counts = class_counts
        self.costs = self.plain_macs = None

    def set_class_counts(self, class_counts: Sequence[int]) -> None:
        """Take the training images of each class, (C,), unless the config gave them."""
        if self.class_counts is None:
            self.class_counts = class_counts

    def set_part_costs(self, costs: PartCosts, plain_macs: int | None) -> None:
        """Take what the parts of the model and the plain network cost.

        Args:
            costs: Multiply-adds of trunk, E experts and routers.
            plain_macs: Multiply-adds of the plain network, if they are known.
        """
        self.costs, self.plain_macs = costs, plain_macs

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep (label, number of experts) of each sample.

        Raises:
            ValueError: If the model does not tell how many experts it used, or the
                samples are averages over views, of which each used a number of its own.
        """
        if _has_views(data_batch):
            raise ValueError(
                'ExpertUsage: expected one image for each sample, got several views '
                '(--tta), each of which may use another number of experts: test '
                'without --tta, or with another metric in its place (--cfg-options '
                'test_evaluator.INDEX.type=Accuracy)'
            )
        for sample in data_samples:
            if 'num_experts' not in sample:
                raise ValueError(
                    'ExpertUsage: expected num_experts in the data samples, as '
                    f'RouterHead sets it, got {sorted(sample)}. A model without '
                    'routers always uses all experts: take ExpertUsage out of the '
                    'evaluator, or give the model a RouterHead'
                )
            self.results.append((sample['gt_label'].item(), int(sample['num_experts'])))

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Compute shares, and costs if they are known."""
        labels, used = np.array(results, dtype=np.int64).reshape(-1, 2).T
        if self.class_counts is None:
            MMLogger.get_current_instance().info(
                'ExpertUsage: no figures by shots, for the class counts of the '
                'training set are not known'
            )
        num_experts = used.max() if self.costs is None else len(self.costs.experts)
        result = expert_usage(
            labels, used, num_experts, self.class_counts, self.many, self.few
        )
        if self.costs is not None:
            samples = np.bincount(used - 1, minlength=num_experts)
            macs = self.costs.mean(samples)
            result['mean_macs'] = macs / 1e6
            if self.plain_macs is not None:
                result['macs_ratio'] = macs / self.plain_macs
        return result


def _has_views(data_batch) -> bool:
    """Whether a batch is one of test-time augmentation: a list of samples per view."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    return bool(samples) and isinstance(samples[0], (list, tuple))
