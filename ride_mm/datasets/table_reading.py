"""Read a table of images: a CSV file with a header and a line for each image."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..utils.listing import first_few
from .list_reading import UNUSUAL_PATH, inner_path, is_integer, read_text

DELIMITERS = (',', ';', '\t')
# Columns are found by these names, in this order, in capitals or not.
PATH_COLUMNS = (
    *('path', 'file', 'filename', 'file_name', 'filepath', 'file_path'),
    *('image', 'image_path', 'img_path', 'img', 'image_name'),
)
LABEL_COLUMNS = (
    *('label', 'class', 'category', 'species', 'target', 'class_name'),
    *('category_name', 'label_name', 'class_label'),
)
SPLIT_COLUMNS = ('split', 'set', 'subset', 'part', 'partition')
SPLITS = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'test': 'test',
    'testing': 'test',
}


@dataclass(frozen=True)
class TableRow:
    """One image of a table.

    Attributes:
        line: Where its row starts, from 1.
        path: Relative path.
        label: The word that stands for its class.
        split: ``'train'``, ``'val'`` or ``'test'``; None without such a column.
    """

    line: int
    path: str
    label: str
    split: str | None


def read_table(
    path: str,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
) -> tuple[str, list[TableRow]]:
    """Read a table of images, plain or gzipped.

    Its first row has the names of the columns. What separates them (a comma, a
    semicolon or a tab) follows from it. Cells may be quoted, blanks around a cell do
    not count, empty rows are passed over, further columns are ignored.

    Args:
        path: Path or address of the table, UTF-8, with a byte order mark or without.
        path_column: Column with the paths; by default the first of
            ``PATH_COLUMNS`` that is there.
        label_column: Column with the labels; by default of ``LABEL_COLUMNS``.
        split_column: Column that tells training, validation and test images apart; by
            default of ``SPLIT_COLUMNS``, if one is there.

    Returns:
        The path that was read, and a row for each image.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a table, a column is missing, or a row has
            another number of cells, an empty path or label, a split of another name, or
            a path that is absolute, has a ``..``, or was listed before; it names file
            and line.
    """
    path, text = read_text(path)
    rows = _rows(path, text)
    number, header = next(rows, (1, None))
    if header is None:
        raise ValueError(
            f'{path}: expected a row with the names of the columns, got nothing'
        )
    try:
        columns = (
            find_column(header, 'path', path_column, PATH_COLUMNS),
            find_column(header, 'label', label_column, LABEL_COLUMNS),
            find_column(header, 'split', split_column, SPLIT_COLUMNS, optional=True),
        )
    except ValueError as err:
        raise ValueError(f'{path}, line {number}: {err}') from None
    found: dict[str, TableRow] = {}
    for line, cells in rows:
        try:
            row = _row(line, cells, header, columns)
            first = found.setdefault(row.path, row)
            if first is not row:
                raise ValueError(
                    f'expected each path once, got {row.path!r} again, which is on '
                    f'line {first.line}'
                )
        except ValueError as err:
            raise ValueError(f'{path}, line {line}: {err}') from None
    if not found:
        raise ValueError(f'{path}: expected a row for each image, got none')
    return path, list(found.values())


def _rows(path: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row that is not empty."""
    text = text.replace('\r\n', '\n').replace('\r', '\n')
    delimiter = find_delimiter(text.lstrip('\n').split('\n', 1)[0])
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as err:
        raise ValueError(
            f'{path}, line {line}: expected cells separated by {delimiter!r}, quoted '
            f'with " or not, got {err}'
        ) from None


def find_delimiter(header: str) -> str:
    """Find what separates the columns: of comma, semicolon and tab the most frequent.

    Args:
        header: The first line of a table. Signs between quotes do not count.
    """
    outside = ''.join(header.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


def find_column(
    header: Sequence[str],
    what: str,
    name: str | None,
    guesses: Sequence[str],
    optional: bool = False,
) -> int | None:
    """Find a column by its name.

    Args:
        header: Names of the columns. Capitals do not matter.
        what: What the column holds, for the error.
        name: The column's name, or None to try ``guesses`` one by one.
        guesses: Usual names.
        optional: Whether None is returned if none of ``guesses`` is there.

    Raises:
        ValueError: If there is no such column, or more than one.
    """
    known = [cell.casefold() for cell in header]
    wanted = [name.strip().casefold()] if name is not None else list(guesses)
    for one in wanted:
        if known.count(one) > 1:
            raise ValueError(f'expected one column {one!r}, got {known.count(one)}')
        if one in known:
            return known.index(one)
    if name is None and optional:
        return None
    expected = repr(name) if name is not None else f'one of {", ".join(guesses)}'
    hint = (
        '' if name is not None else f'; name yours with {what}_column (--{what}-column)'
    )
    raise ValueError(
        f'expected a column with the {what}, {expected}, got '
        f'{", ".join(map(repr, header))}{hint}'
    )


def _row(
    line: int,
    cells: Sequence[str],
    header: Sequence[str],
    columns: tuple[int, int, int | None],
) -> TableRow:
    if len(cells) != len(header):
        raise ValueError(f'expected {len(header)} cells, got {len(cells)}: {cells}')
    at_path, at_label, at_split = columns
    path, label = cells[at_path], cells[at_label]
    if not path:
        raise ValueError('expected the path of an image, got an empty cell')
    if not label:
        raise ValueError(f'expected a label for {path!r}, got an empty cell')
    if UNUSUAL_PATH.search(path):
        path = inner_path(path)
    split = None
    if at_split is not None:
        split = SPLITS.get(cells[at_split].casefold())
        if split is None:
            raise ValueError(
                f'expected train, val or test as {header[at_split]!r}, got '
                f'{cells[at_split]!r}'
            )
    return TableRow(line, path, label, split)


def class_names(rows: Sequence[TableRow]) -> tuple[str, ...]:
    """Names of the classes of a table: its labels, sorted; numbers by their size.

    Returns:
        Names, (C,).
    """
    words = sorted({row.label for row in rows})
    if all(map(is_integer, words)):
        words.sort(key=int)
    return tuple(words)


def label_reader(
    path: str, rows: Sequence[TableRow], classes: Sequence[str]
) -> Callable[[TableRow], int]:
    """Find out how the labels of a table name the classes.

    A label is the name of a class. Where no label of the table is one and all are
    integers, they are indices of the classes.

    Args:
        path: Of the table, for errors.
        rows: Of the table.
        classes: Names of the C classes.

    Returns:
        A function that gives the label of a row as an index, and raises ValueError with
        file and line where there is no such class.
    """
    index_of = {name: c for c, name in enumerate(classes)}
    words = {row.label for row in rows}
    as_index = words.isdisjoint(index_of) and all(map(is_integer, words))

    def read(row: TableRow) -> int:
        if as_index:
            if 0 <= int(row.label) < len(classes):
                return int(row.label)
            expected = f'a label in [0, {len(classes) - 1}]'
        elif row.label in index_of:
            return index_of[row.label]
        else:
            some = first_few(map(repr, classes))
            expected = f'one of the {len(classes)} classes ({some}) as label'
        raise ValueError(
            f'{path}, line {row.line}: expected {expected}, got {row.label!r}'
        )

    return read
