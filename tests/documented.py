"""Tables of README and docs, and the logs in docs/results that they are held to."""

import json
import re
from collections.abc import Iterable

from ride_mm.utils import resource_root

ROOT = resource_root()
LOGS = ROOT / 'docs' / 'results'


def log(name: str) -> dict:
    return json.loads((LOGS / name).read_text())


def tables(page: str) -> list[list[str]]:
    """The rows of each table of a page, without emphasis and superfluous spaces."""
    found = [[]]
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith('|'):
            found[-1].append(re.sub(r'[ *]+', ' ', line).strip())
        elif found[-1]:
            found.append([])
    return [rows[2:] for rows in found if rows]


def row(*cells: object) -> str:
    return re.sub(' +', ' ', f'| {" | ".join(map(str, cells))} |')


def text(page: str) -> str:
    return ' '.join((ROOT / page).read_text().split())


def table_with(page: str, title: str) -> list[str]:
    """The rows of the table that has a row of this title."""
    found = [rows for rows in tables(page) if any(r.startswith(title) for r in rows)]
    assert len(found) == 1, f'{page}: {len(found)} tables with {title}'
    return found[0]


def check_table(page: str, rows: Iterable[str]) -> None:
    """Check that a page has a table of these rows, and of no others."""
    expected = sorted(rows)
    assert expected
    near = [found for found in tables(page) if set(found) & set(expected)]
    assert expected in map(sorted, tables(page)), f'{expected}\n\n{near}'
