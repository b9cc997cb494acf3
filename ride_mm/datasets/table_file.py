"""A dataset by a CSV file, such as spreadsheets export."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmpretrain.registry import DATASETS

from .list_file import LTListFile
from .table_reading import TableRow, class_names, label_reader, read_table

PARTS = ('train', 'val', 'test')
ALL = 'all'


@DATASETS.register_module()
class LTTableFile(LTListFile):
    """Images named by a table (CSV), a row for each, with a header.

    :func:`~ride_mm.datasets.table_reading.read_table` tells the form, and the names by
    which the columns are found. A label is the name of a class; where ``classes`` or
    ``num_classes`` are given and no label is a name, the labels are indices.

    Args:
        ann_file: The table, below ``data_root`` unless absolute.
        data_root: Folder of table and images.
        data_prefix: Folder below ``data_root`` that the paths of the table start from.
        classes: Names of the C classes, or a text file with one name a line; by default
            the labels of all rows of the table, whatever their part, sorted (numbers by
            their size). Tables of training and test that are two files need it, and the
            same in both.
        num_classes: Number of classes C, where labels are indices and have no names.
        split: Part of the table to take, ``'train'``, ``'val'`` or ``'test'``;
            ``'all'`` takes all rows. Needed if the table has a column with the parts.
        path_column: Name of the column with the paths; by default a usual one.
        label_column: Of the column with the labels.
        split_column: Of the column with the parts.
        metainfo: Of MMPretrain's ``BaseDataset``; may hold the names of the classes.
        **kwargs: Further arguments of :class:`LTListFile`.

    Raises:
        FileNotFoundError: If there is no such table.
        RuntimeError: If images that were looked for do not exist; it names them.
        ValueError: If an argument or a row of the table is wrong, or a class has no
            image.
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: str | dict = '',
        classes: str | Sequence[str] | None = None,
        num_classes: int | None = None,
        split: str | None = None,
        path_column: str | None = None,
        label_column: str | None = None,
        split_column: str | None = None,
        metainfo: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if split not in (*PARTS, ALL, None):
            raise ValueError(f'split: expected one of {(*PARTS, ALL)}, got {split!r}')
        self.split = split
        self.columns = (path_column, label_column, split_column)
        if classes is None:
            classes = (metainfo or {}).get('classes')
        if classes is None and num_classes is None:
            if ann_file:
                root, table = map(os.path.expanduser, (data_root, ann_file))
                path = os.path.join(root, table)
                classes = class_names(read_table(path, *self.columns)[1])
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix,
            classes=classes,
            num_classes=num_classes,
            metainfo=metainfo,
            **kwargs,
        )

    def read(self) -> tuple[list[str], np.ndarray]:
        """Read the rows of this part.

        Returns:
            N relative paths, and labels (N,), int64.

        Raises:
            ValueError: As the class has it.
        """
        path, rows = read_table(self.ann_file, *self.columns)
        label_of = label_reader(path, rows, self.metainfo['classes'])
        chosen = rows_of_part(path, rows, self.split)
        labels = np.array([label_of(row) for row in chosen], dtype=np.int64)
        return [row.path for row in chosen], labels


def rows_of_part(
    path: str, rows: Sequence[TableRow], split: str | None
) -> list[TableRow]:
    """Choose the rows of one part of a table.

    Args:
        path: Of the table, for errors.
        rows: Of the table.
        split: As :class:`LTTableFile` has it.

    Raises:
        ValueError: If the table has parts and none is chosen, or none and one is
            chosen, or no row of the chosen one.
    """
    found = [part for part in PARTS if part in {row.split for row in rows}]
    if split is None and found:
        raise ValueError(
            f'{path}: expected split to choose from {", ".join(found)}, for the table '
            f'has a column with these parts, got None; {ALL!r} takes all rows'
        )
    if split in (None, ALL):
        return list(rows)
    chosen = [row for row in rows if row.split == split]
    if not chosen:
        got = f'rows of {", ".join(found)} only' if found else 'no column with parts'
        raise ValueError(f'{path}: expected rows of split={split!r}, got {got}')
    return chosen
