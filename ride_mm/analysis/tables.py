"""Results as text."""

from collections.abc import Sequence

ABSENT = '-'


def format_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table in Markdown: the first column left-aligned, the others right.

    Args:
        columns: Headings.
        rows: Cells of each row, as many as there are headings.

    Returns:
        The table, without a newline at its end.

    Raises:
        ValueError: If a row has another length.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(
                f'expected {len(columns)} cells, one for each of {list(columns)}, got '
                f'{len(row)}: {list(row)}'
            )
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
    lines = [
        [cells[0].ljust(widths[0])]
        + [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        for cells in (columns, rule, *rows)
    ]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def format_percent(value: float | None) -> str:
    """Write a percentage with one decimal; None, an absent group, becomes a dash."""
    return ABSENT if value is None else f'{value:.1f}'


def format_count(value: int) -> str:
    """Write a number of parameters or operations with a prefix: ``'1.23 M'``."""
    for size, prefix in ((10**9, ' G'), (10**6, ' M'), (10**3, ' k')):
        if value >= size:
            return f'{value / size:.2f}{prefix}'
    return str(value)
