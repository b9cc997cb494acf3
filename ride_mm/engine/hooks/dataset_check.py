"""Hook that holds the data sets of a run against each other."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...datasets.channel_order import channel_order
from ...datasets.image_check import check_images
from ...datasets.samples import read_samples
from ...utils.listing import first_few
from .visualization import turns_to_rgb


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Refuses data sets that do not go together, before the first batch.

    Validation and test need the classes of the training set in the same order (a folder
    per class is numbered by sorted names, so a renamed folder would shift all labels),
    labels that are classes, and readable files. Held-out images must not be among those
    that are trained on. Classes that they have no image of are named: no figure says
    anything of these. Of CIFAR it says if the preprocessor expects another order of
    the channels than the data set has.

    Args:
        check_images: How the files of validation and test are looked at, see
            :func:`~ride_mm.datasets.image_check.check_images`.
    """

    priority = 'VERY_HIGH'

    def __init__(self, check_images: str = 'open') -> None:
        self.check_images = check_images
        self._trained_classes = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the classes that the checkpoint was trained on."""
        meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
        self._trained_classes = meta.get('classes')

    def before_train(self, runner: Runner) -> None:
        """Hold the validation set against the training set."""
        train = runner.train_dataloader.dataset
        self._trained_classes = _classes(train)
        warn_of_channel_order(runner, train)
        if runner.val_loop is None:
            return
        val = runner.val_dataloader.dataset
        same_classes(_classes(train), _classes(val), 'training', 'validation')
        self._check_samples(runner, val, 'validation')
        if getattr(val, 'part', None) == 'val':
            nothing_shared(train, val)

    def before_test(self, runner: Runner) -> None:
        """Hold the test set against what the checkpoint was trained on."""
        test = runner.test_dataloader.dataset
        same_classes(self._trained_classes, _classes(test), 'checkpoint', 'test')
        warn_of_channel_order(runner, test)
        self._check_samples(runner, test, 'test')

    def _check_samples(self, runner: Runner, dataset: Any, name: str) -> None:
        classes = _classes(dataset)
        if classes is None or not hasattr(dataset, 'get_data_info'):
            return
        labels, _, paths = read_samples(dataset, classes)
        check_images([path for path in paths if path], self.check_images)
        empty = np.setdiff1d(np.arange(len(classes)), labels)
        if len(empty):
            runner.logger.warning(
                f'{len(empty):,} of {len(classes):,} classes have no {name} image and '
                f'count in no accuracy: {first_few((classes[c] for c in empty), 3)}'
            )


def _classes(dataset: Any) -> list[str] | None:
    classes = getattr(dataset, 'metainfo', {}).get('classes')
    return None if classes is None else list(classes)


def same_classes(
    expected: Iterable[str] | None, got: Iterable[str] | None, first: str, second: str
) -> None:
    """Refuse two lists of class names that differ.

    Raises:
        ValueError: If they do, with the first difference.
    """
    if expected is None or got is None:
        return
    expected, got = list(expected), list(got)
    if expected == got:
        return
    only = sorted(set(map(str, expected)) ^ set(map(str, got)))
    differing = (
        f'; in one of them only: {first_few(only, 3)}'
        if only
        else '; the order differs'
    )
    raise ValueError(
        f'classes: expected the {second} set to have those of the {first}, '
        f'{len(expected)} in the same order, got {len(got)}{differing}'
    )


def warn_of_channel_order(runner: Runner, dataset: Any) -> None:
    """Say if the network sees BGR, which one that reads image files does not."""
    order = channel_order(dataset)
    to_rgb = None if order is None else turns_to_rgb(runner.model)
    if to_rgb in (None, order == 'BGR'):
        return
    runner.logger.warning(
        f'channels: expected data_preprocessor.to_rgb={not to_rgb} for the images of '
        f'this data set, which are {order}, got to_rgb={to_rgb}: mean, std and weights '
        'meet red in the place of blue'
    )


def sample_keys(dataset: Any) -> np.ndarray:
    """What identifies each image of a dataset: its file, or its place in a source."""
    source = getattr(dataset, 'dataset', dataset)
    folders = getattr(source, 'data_prefix', None) or {}
    parts = type(source).__name__, getattr(source, 'split', ''), *folders.values()
    where = ' '.join(str(part) for part in parts if part)
    places = getattr(dataset, 'indices', range(len(dataset)))
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    return np.array(
        [
            info.get('img_path') or f'{where} image {info.get("official_index", place)}'
            for place, info in zip(places, infos, strict=True)
        ]
    )


def nothing_shared(train: Any, val: Any) -> None:
    """Refuse a held-out part that shares images with the training part.

    Raises:
        ValueError: If it does, with their number and what has to agree.
    """
    shared = np.intersect1d(sample_keys(train), sample_keys(val))
    if len(shared):
        raise ValueError(
            f'held-out images: expected none of {len(val):,} to be trained on, got '
            f'{len(shared):,}, the first is {shared[0]}; imbalance, factor, n_max, '
            'seed and held_out of train_dataloader.dataset and val_dataloader.dataset '
            'have to be the same'
        )
