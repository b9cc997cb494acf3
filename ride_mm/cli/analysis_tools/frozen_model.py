"""A trained model and labelled images, for tools that look at what it computes."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import DataLoader, Subset

from ...apis.trained_model import build_part, load_weights, model_config
from ...utils.wrapped import innermost_config
from ..devices import pick_device
from ..errors import UsageError
from ..files import existing_file

LOADING = 'LoadImageFromFile'


def add_model_options(parser: argparse.ArgumentParser, batch_size: int = 64) -> None:
    """Add config, checkpoint, and how images are computed."""
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    parser.add_argument('checkpoint', help='path or https address of a checkpoint')
    parser.add_argument(
        '--batch-size',
        type=whole_number(1),
        default=batch_size,
        metavar='N',
        help=f'images to compute at a time (default: {batch_size})',
    )
    parser.add_argument(
        '--workers',
        type=whole_number(0),
        default=0,
        metavar='N',
        help='processes that load images (default: 0, the program itself)',
    )
    parser.add_argument(
        '--device', help='such as cpu or cuda:1 (default: a GPU if there is one)'
    )


def whole_number(least: int) -> Callable[[str], int]:
    """A type of options: whole numbers from ``least`` on."""

    def read(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(
                f'expected a whole number >= {least}, got {value}'
            )
        return value

    read.__name__ = 'whole number'  # As argparse calls it in its errors.
    return read


def frozen_model(cfg: Config, args: argparse.Namespace) -> nn.Module:
    """Build a config's model with all weights of a checkpoint, in eval mode.

    Raises:
        UsageError: If there is no model, no checkpoint or no such device.
        CheckpointError: If the checkpoint is not of that model.
    """
    if not cfg.get('model'):
        raise UsageError(f'{args.config}: expected a config with model, got none')
    existing_file(args.checkpoint, 'a checkpoint')
    device = pick_device(args.device)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model = build_part(MODELS, model_config(cfg))
    load_weights(model, args.checkpoint)
    return model.to(device).eval()


def labelled_images(cfg: Config, name: str, pipeline: Sequence | None = None) -> Any:
    """Build one of a config's data sets with the test's pipeline.

    Args:
        cfg: The config.
        name: ``'train'``, ``'val'`` or ``'test'``.
        pipeline: Another pipeline, which follows the loading of the images.

    Raises:
        UsageError: If the config has no such data, or no pipeline of a test.
    """
    loader = cfg.get(f'{name}_dataloader')
    if loader is None:
        raise UsageError(f'expected {name}_dataloader in the config, got none')
    dataset = deepcopy(loader.dataset)
    innermost = innermost_config(dataset)
    innermost.pipeline = test_pipeline(cfg, pipeline)
    innermost.test_mode = True
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    built = DATASETS.build(dataset)
    if hasattr(built, 'full_init'):
        built.full_init()
    return built


def test_pipeline(cfg: Config, others: Sequence | None = None) -> list:
    """The transforms of a config's test, or its loading followed by others.

    Raises:
        UsageError: If it has none.
    """
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    found = None if loader is None else innermost_config(loader.dataset).get('pipeline')
    if not found:
        raise UsageError(
            'expected test_dataloader with a pipeline in the config, got none'
        )
    if others is None:
        return deepcopy(list(found))
    loading = [t for t in found if t['type'] == LOADING]
    return deepcopy(loading + [t for t in others if t['type'] != LOADING])


def labels_of(dataset: Any) -> np.ndarray:
    """Class of each image, (N,), without loading the images.

    Raises:
        UsageError: If there are no images, or not one class for each.
    """
    if hasattr(dataset, 'get_gt_labels'):
        found = list(dataset.get_gt_labels())
    else:
        found = [dataset.get_data_info(i).get('gt_label') for i in range(len(dataset))]
    wrong = [label for label in found if not isinstance(label, (int, np.integer))]
    if wrong or not found:
        raise UsageError(
            'data: expected images of one class each, got '
            f'{repr(wrong[0]) if wrong else "none"}'
        )
    return np.asarray(found)


def batches_of(
    dataset: Any, args: argparse.Namespace, indices: Sequence[int] | None = None
) -> Iterator[dict]:
    """Batches of a data set's images, in the order of ``indices`` or their own."""
    if indices is not None:
        dataset = Subset(dataset, [int(i) for i in indices])
    yield from DataLoader(
        dataset,
        batch_size=args.batch_size,
        num_workers=args.workers,
        collate_fn=default_collate,
    )
