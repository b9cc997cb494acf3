"""Hook that hands the class counts to all parts that want them."""

from collections.abc import Iterable

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from ...datasets.imbalance import class_counts_of
from ...models.layers import modules_wanting_class_counts
from .bare_model import bare_model


def count_classes(dataset) -> np.ndarray:
    """Training images of each class of a dataset, (C,).

    Raises:
        ValueError: If a label is not a class index, a class has no image, or the
            dataset does not tell its labels.
    """
    counts = getattr(dataset, 'class_counts', None)
    if counts is not None:
        return np.asarray(counts)
    if not hasattr(dataset, 'get_gt_labels'):
        raise ValueError(
            'train_dataloader.dataset: expected LongTailed or a data set of MMPretrain '
            f'with get_gt_labels, got {type(dataset).__name__}; a wrapper goes inside: '
            f"dict(type='LongTailed', dataset=dict(type='{type(dataset).__name__}', "
            '...))'
        )
    return class_counts_of(dataset.get_gt_labels(), dataset.CLASSES)


@HOOKS.register_module()
class ClassCountsHook(Hook):
    """Hands the training set's class counts to modules and metrics.

    Before training every module with ``set_class_counts`` receives them from the
    dataset's labels, unless its config has ``class_counts``; there they live in
    buffers, hence in the checkpoint. Before validation and test, metrics with
    ``set_class_counts`` receive them from the first such buffer, so that testing does
    not need the training set. Training on a data set with an empty class, or with
    another number of classes than a module's, is refused before the first batch.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Count the training set and hand the counts to the model."""
        self._counts = count_classes(runner.train_dataloader.dataset)
        for _, module in modules_wanting_class_counts(runner.model):
            if not getattr(module, 'class_counts_are_given', False):
                module.set_class_counts(self._counts.tolist())

    def before_val(self, runner: Runner) -> None:
        """Hand the counts to the metrics of the validation."""
        self._tell(runner, runner.val_loop.evaluator.metrics)

    def before_test(self, runner: Runner) -> None:
        """Hand the counts to the metrics of the test."""
        self._tell(runner, runner.test_loop.evaluator.metrics)

    def _tell(self, runner: Runner, metrics: Iterable) -> None:
        counts = stored_class_counts(runner.model)
        if counts is None and hasattr(self, '_counts'):
            counts = self._counts.tolist()
        for metric in metrics:
            if counts is not None and hasattr(metric, 'set_class_counts'):
                metric.set_class_counts(counts)
            if hasattr(metric, 'require_class_counts'):
                metric.require_class_counts()


def stored_class_counts(model: nn.Module) -> list[int] | None:
    """The counts that a model holds in its buffers, or ``None``."""
    for _, module in modules_wanting_class_counts(bare_model(model)):
        counts = module.class_counts.tolist()
        if sum(counts):
            return counts
    return None
