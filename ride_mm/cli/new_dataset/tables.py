"""Images that a CSV or list file names."""

import argparse
import os

import numpy as np

from ...datasets.imbalance import class_counts_of
from ...datasets.list_file import names_of_classes
from ...datasets.list_reading import read_list
from ...datasets.table_reading import class_names, label_reader, read_table
from ..errors import UsageError
from .source import UNSPLIT, Source, check_class_names

TABLES = ('.csv', '.tsv')
ANY_LABEL = 10**6


def source_in_table(root: str, args: argparse.Namespace) -> Source:
    """Read the images that a table or a list names.

    A file ``.csv`` or ``.tsv`` is a table with a header; any other is a list with lines
    ``path label``. Either may be gzipped.

    Args:
        root: Folder that the paths start from.
        args: With ``table``, ``classes``, ``path_column``, ``label_column`` and
            ``split_column``.

    Raises:
        UsageError: If it cannot be read; it names file and line.
    """
    root = os.path.abspath(os.path.expanduser(root))
    if not os.path.isdir(root):
        raise UsageError(f'DATA_ROOT: expected a folder, got {root}')
    file = find_table(root, args.table)
    try:
        classes = names_of_classes(args.classes, None) if args.classes else None
        if file.lower().removesuffix('.gz').endswith(TABLES):
            source = _from_table(root, file, classes, args)
        else:
            source = _from_list(root, file, classes)
        check_counts(source)
    except (ValueError, FileNotFoundError) as err:
        raise UsageError(str(err)) from None
    check_class_names(source.classes)
    return source


def find_table(root: str, name: str) -> str:
    """Find a file by its path, or else below the folder of the images.

    Raises:
        UsageError: If it is in neither place.
    """
    name = os.path.expanduser(name)
    places = list(dict.fromkeys((name, os.path.join(root, name))))
    for path in places:
        if os.path.isfile(path):
            return path
    raise UsageError(f'--table: expected a file, found none: {" nor ".join(places)}')


def _from_table(
    root: str, file: str, classes: tuple[str, ...] | None, args: argparse.Namespace
) -> Source:
    columns = (args.path_column, args.label_column, args.split_column)
    _, rows = read_table(file, *columns)
    classes = classes or class_names(rows)
    label_of = label_reader(file, rows, classes)
    parts: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        parts.setdefault(row.split or UNSPLIT, []).append((row.path, label_of(row)))
    if parts.keys() - {UNSPLIT} and 'train' not in parts:
        raise ValueError(f'{file}: expected rows of train, got {", ".join(parts)} only')
    if list(parts) == ['train']:
        parts = {UNSPLIT: parts['train']}
    return Source(root, f'the table {file}', classes, parts)


def _from_list(root: str, file: str, classes: tuple[str, ...] | None) -> Source:
    paths, labels = read_list(file, len(classes) if classes else ANY_LABEL)
    if classes is None:
        classes = names_of_classes(None, int(labels.max()) + 1)
    images = list(zip(paths, labels.tolist(), strict=True))
    return Source(root, f'the list {file}', classes, {UNSPLIT: images})


def check_counts(source: Source) -> None:
    """Refuse classes without a training image, as labels with gaps have them.

    Raises:
        ValueError: With the first such classes.
    """
    part = 'train' if 'train' in source.parts else UNSPLIT
    labels = np.array([label for _, label in source.parts[part]], dtype=np.int64)
    try:
        class_counts_of(labels, source.classes)
    except ValueError as err:
        raise ValueError(f'{source.form}: {err}') from None
