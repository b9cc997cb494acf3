"""The list files of a benchmark, and what its config expects of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ...utils import resource_root
from ...utils.wrapped import innermost_config
from ..imbalance import class_counts_of, subset_hash
from ..list_file import counts_hash, image_number
from ..list_reading import read_list
from .errors import PreparationError

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@dataclass(frozen=True)
class ListFile:
    """A list of a benchmark.

    Attributes:
        name: Of its file.
        num_classes: Number of classes C.
        counts: Hash of its published class counts, None if any will do.
        lines: Hash of its published lines, None if any will do.
    """

    name: str
    num_classes: int
    counts: str | None
    lines: str | None


def list_files(config: str) -> tuple[str, list[ListFile]]:
    """Read from a base config which lists it expects.

    Args:
        config: Name of the config in ``configs/_base_/datasets``.

    Returns:
        Folder of the data, and the lists.
    """
    cfg = Config.fromfile(resource_root() / f'configs/_base_/datasets/{config}.py')
    found: dict[str, ListFile] = {}
    for loader in LOADERS:
        lines = cfg[loader].dataset.get('expected_hash')
        settings = innermost_config(cfg[loader].dataset)
        name = settings['ann_file']
        found.setdefault(
            name,
            ListFile(
                name,
                cfg.data_preprocessor.num_classes,
                settings.get('expected_counts'),
                lines,
            ),
        )
    return cfg.data_root, list(found.values())


def find_list(folder: Path, name: str) -> Path | None:
    """A list in a folder, plain or gzipped."""
    for path in (folder / name, folder / f'{name}.gz'):
        if path.is_file():
            return path
    return None


def read_checked(path: Path, expected: ListFile, any_counts: bool) -> list[str]:
    """Read a list and hold it against the published one.

    Args:
        path: Of the list, plain or gzipped.
        expected: What is known of it.
        any_counts: Whether other class counts and lines will do.

    Returns:
        Relative paths of the images, (N,).

    Raises:
        PreparationError: If a line is malformed, with its number, or the list is
            another one than the published.
    """
    try:
        paths, labels = read_list(str(path), expected.num_classes)
    except ValueError as err:
        raise PreparationError(str(err)) from None
    check_list(path, paths, labels, expected, any_counts)
    return paths


def check_list(
    path: Path,
    paths: Sequence[str],
    labels: np.ndarray,
    expected: ListFile,
    any_counts: bool,
) -> None:
    """Hold what a file lists against the published list.

    Args:
        path: Of the file.
        paths: Relative paths of the images, (N,).
        labels: Their labels, (N,).
        expected: What is known of the list.
        any_counts: Whether other class counts and lines will do.

    Raises:
        PreparationError: If it is another one than the published.
    """
    classes = [str(c) for c in range(expected.num_classes)]
    try:
        counts = class_counts_of(labels, classes, allow_empty=True, names=paths)
    except ValueError as err:
        raise PreparationError(f'{path}: {err}') from None
    if any_counts:
        return
    if expected.counts not in (None, counts_hash(counts)):
        raise PreparationError(
            f'{path}: expected the published class counts, got {len(paths):,} images, '
            f'{np.count_nonzero(counts):,} classes with {counts.max():,}..'
            f'{counts.min():,} images; --any-counts accepts it'
        )
    numbers = [image_number(*one) for one in zip(paths, labels.tolist(), strict=True)]
    if expected.lines not in (None, subset_hash(numbers)):
        raise PreparationError(
            f'{path}: expected the published list, got one with the same class counts '
            'but other images; --any-counts accepts it'
        )
