"""The labelled images on which thresholds are set, and what is recorded of them."""

import argparse
from copy import deepcopy

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from ...analysis.routing import RoutingCost, RoutingRecords, routing_records
from ...evaluation import RoutingRecorder
from ...utils.wrapped import innermost_config, wrapped_datasets
from ..errors import UsageError


def use_data(cfg: Config, name: str) -> str | None:
    """Make one of the config's data sets that of the test.

    Args:
        cfg: The config, changed in place.
        name: ``'val'``, ``'test'`` or ``'train'``; the last in the test's pipeline,
            thus without augmentation.

    Returns:
        A warning if the images are those of the test or of the training, else None.

    Raises:
        UsageError: If the config has no such data set.
    """
    test = cfg.get('test_dataloader')
    loader = cfg.get(f'{name}_dataloader')
    if loader is None or (name == 'train' and test is None):
        raise UsageError(
            f'--data {name}: expected {name}_dataloader'
            f'{" and test_dataloader" * (name == "train")} in the config, got none'
        )
    warning = None
    if test is not None and _images(loader.dataset) == _images(test.dataset):
        warning = (
            'these are the test images. Thresholds that were chosen on them make the '
            'accuracy on them look better than it is: choose on held-out images, for '
            'example with --data val and a config with LongTailed(held_out=...).'
        )
    elif name == 'train':
        warning = (
            'the experts were trained on these images and are right about them more '
            'often than about others, so that accuracy and use of experts will differ '
            'on new images.'
        )
        dataset = deepcopy(loader.dataset)
        if dataset.type == 'BatchedLongTailed':  # It takes no pipeline for an image.
            dataset.type = 'LongTailed'
        innermost_config(dataset).update(
            pipeline=deepcopy(innermost_config(test.dataset).pipeline), test_mode=True
        )
        loader = deepcopy(test)
        loader.dataset = dataset
    cfg.test_dataloader = deepcopy(loader)
    return warning


def trained_on(runner: Runner, recorder: RoutingRecorder) -> str | None:
    """Warn if held-out images were not held out from the checkpoint's training."""
    for dataset in wrapped_datasets(runner.test_dataloader.dataset):
        if getattr(dataset, 'part', None) != 'val' or recorder.class_counts is None:
            continue
        if list(dataset.class_counts) != list(recorder.class_counts):
            return (
                'the checkpoint was not trained on the other part of these data: the '
                'class counts differ, so these images were probably trained on. Train '
                'both stages with the same held_out.'
            )
    return None


def describe_data(
    cfg: Config, args: argparse.Namespace, recorder: RoutingRecorder
) -> str:
    """Say in words which images set the thresholds, and what counts equally."""
    dataset = cfg[f'{args.data}_dataloader'].dataset
    inner = innermost_config(dataset)
    part = inner.get('split') or inner.get('data_prefix') or inner.get('ann_file')
    of = f', {part}' if isinstance(part, str) else ''
    of += ', held-out part' if dataset.get('part') == 'val' else ''
    return (
        f'{args.data}_dataloader ({inner.type}{of}): {len(recorder.labels):,} images, '
        f'{args.weight} counting equally'
    )


def records_of(
    recorder: RoutingRecorder, args: argparse.Namespace
) -> tuple[RoutingRecords, RoutingCost]:
    """Records and costs, in the form of the analysis.

    Raises:
        UsageError: If class counts or costs are not known.
    """
    if recorder.class_counts is None:
        raise UsageError(
            f'{args.checkpoint}: expected the class counts of the training set in it, '
            'for the shots, got none'
        )
    if recorder.costs is None or recorder.plain_macs is None:
        raise UsageError(
            'expected ExpertCostHook in default_hooks to measure the multiply-adds of '
            'experts and plain network, got none of it; does the log say why?'
        )
    records = routing_records(
        recorder.labels,
        recorder.correct,
        recorder.scores,
        recorder.class_counts,
        args.weight,
    )
    macs = recorder.costs.of_experts_used().tolist()
    return records, RoutingCost(macs, recorder.plain_macs)


def _images(dataset: ConfigDict) -> dict:
    """A dataset's config but for how images are fetched, shown and checked."""
    if dataset.get('type') in ('LongTailed', 'BatchedLongTailed'):
        if not any(dataset.get(key) for key in ('imbalance', 'n_max', 'held_out')):
            return _images(dataset.dataset)  # All of them.
    skip = ('pipeline', 'test_mode', 'check_md5', 'download', 'check_images')
    return {
        key: _images(value) if isinstance(value, dict) else value
        for key, value in dataset.items()
        if key not in skip
    }
