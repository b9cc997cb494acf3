"""Accuracy by shots."""

import csv
import io
from collections.abc import Sequence

import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmpretrain.registry import METRICS

from ...engine.checkpoint_io import CheckpointError, write_atomically
from ...utils.shots import SHOT_GROUPS, shot_groups


def accuracy_by_class(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count images and correct decisions of each class.

    Args:
        labels: (N,).
        predictions: (N,).
        num_classes: C.

    Returns:
        Test images and correct ones of each class, both (C,).
    """
    images = np.bincount(labels, minlength=num_classes)
    correct = np.bincount(labels[labels == predictions], minlength=num_classes)
    return images, correct


def shot_accuracy(
    images: np.ndarray,
    correct: np.ndarray,
    class_counts: Sequence[int],
    many: int = 100,
    few: int = 20,
) -> dict[str, float]:
    """Accuracy in percent over all images, by class, and by shots.

    The mean over the classes of a group, as the authors of OLTR (Liu et al., CVPR 2019)
    and all follow-ups have it; classes without a test image do not count.

    Args:
        images: Test images of each class, (C,).
        correct: Correct decisions of each class, (C,).
        class_counts: Training images of each class, (C,).
        many: A class with more training images is many-shot.
        few: A class with fewer training images is few-shot.

    Returns:
        ``all`` (over images), ``class_mean``, and ``many``, ``medium``, ``few`` (class
        means); a group without a class is absent.
    """
    tested = images > 0
    by_class = 100 * correct[tested] / images[tested]
    result = dict(all=100 * correct.sum() / images.sum(), class_mean=by_class.mean())
    groups = shot_groups(np.asarray(class_counts)[tested], many, few)
    result.update({g: by_class[c].mean() for g, c in groups.items() if len(c)})
    return {name: float(value) for name, value in result.items()}


@METRICS.register_module()
class ShotAccuracy(BaseMetric):
    """Top-1 accuracy over all images, by class, and for many, medium and few shots.

    Names ``shot_accuracy/all``, ``/class_mean``, ``/many``, ``/medium``, ``/few``, in
    percent; ``save_best='shot_accuracy/all'`` works. A group without a class is absent.

    Args:
        many: A class with more training images is many-shot.
        few: A class with fewer training images is few-shot.
        class_counts: Training images of each class, (C,); by default handed over by
            ``ClassCountsHook``, which takes them from the training set or checkpoint.
        csv: File to write the accuracy of each class to.
        collect_device: Of MMEngine's ``BaseMetric``.
        prefix: Of the names; ``shot_accuracy`` by default.
    """

    default_prefix = 'shot_accuracy'

    def __init__(
        self,
        many: int = 100,
        few: int = 20,
        class_counts: Sequence[int] | None = None,
        csv: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        shot_groups([], many, few)  # refuses thresholds that overlap
        self.many = many
        self.few = few
        self.csv = csv
        self.class_counts = class_counts

    def set_class_counts(self, class_counts: Sequence[int]) -> None:
        """Take the training images of each class, (C,), unless the config gave them."""
        if self.class_counts is None:
            self.class_counts = class_counts

    def require_class_counts(self) -> None:
        """Refuse to go on without class counts; the hook asks before the first batch.

        Raises:
            CheckpointError: If the class counts are not known.
        """
        if self.class_counts is None:
            raise CheckpointError(
                'ShotAccuracy needs the class counts of the training set: expected a '
                'checkpoint of a RIDEClassifier, which holds them, or '
                'class_counts=[...] in the config of the metric; got neither'
            )

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep (label, decision) of each sample."""
        for sample in data_samples:
            label = sample['gt_label'].item()
            # An average over views has a score of its own, but the first one's label.
            decision = (
                sample['pred_score'].argmax().item()
                if 'pred_score' in sample
                else sample['pred_label'].item()
            )
            self.results.append((label, decision))

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Compute the accuracies.

        Raises:
            CheckpointError: If the class counts are not known.
        """
        self.require_class_counts()
        counts = np.asarray(self.class_counts)
        labels, predictions = np.array(results, dtype=np.int64).reshape(-1, 2).T
        if len(labels) and labels.max() >= len(counts):
            raise ValueError(
                f'test labels: expected 0 to {len(counts) - 1}, one class for each of '
                f'the class counts, got {labels.max()}'
            )
        images, correct = accuracy_by_class(labels, predictions, len(counts))
        if self.csv and is_main_process():
            self._write_csv(counts, images, correct)
        result = shot_accuracy(images, correct, counts, self.many, self.few)
        absent = [group for group in SHOT_GROUPS if group not in result]
        if absent:
            MMLogger.get_current_instance().info(
                f'ShotAccuracy: no tested class is {" or ".join(absent)}-shot (many > '
                f'{self.many}, few < {self.few} training images)'
            )
        return result

    def _write_csv(
        self, counts: np.ndarray, images: np.ndarray, correct: np.ndarray
    ) -> None:
        classes = (self.dataset_meta or {}).get('classes') or range(len(counts))
        if len(classes) != len(counts):
            raise ValueError(
                f'classes of the test set: expected {len(counts)}, one for each of the '
                f'class counts, got {len(classes)}'
            )
        text = io.StringIO(newline='')
        writer = csv.writer(text)
        writer.writerow(
            ['class_index', 'class_name', 'shots', 'images', 'correct', 'accuracy']
        )
        for c, name in enumerate(classes):
            accuracy = f'{100 * correct[c] / images[c]:.4f}' if images[c] else ''
            writer.writerow([c, name, counts[c], images[c], correct[c], accuracy])
        write_atomically(text.getvalue(), self.csv)
