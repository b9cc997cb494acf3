"""Tables of README and docs, and the logs in docs/results that they are held to."""

import json
import re
from collections.abc import Iterable

from ride_mm.utils import resource_root

ROOT = resource_root()
LOGS = ROOT / 'docs' / 'results'


def log(name: str) -> dict:
    return json.loads((LOGS / name).read_text())


def table(page: str) -> set[str]:
    """The rows of a page's tables, without emphasis and superfluous spaces."""
    lines = (ROOT / page).read_text().splitlines()
    return {
        re.sub(r'[ *]+', ' ', line).strip() for line in lines if line.startswith('|')
    }


def row(*cells: object) -> str:
    return re.sub(' +', ' ', f'| {" | ".join(map(str, cells))} |')


def text(page: str) -> str:
    return ' '.join((ROOT / page).read_text().split())


def check_rows(page: str, rows: Iterable[str]) -> None:
    expected, shown = list(rows), table(page)
    assert expected
    missing = [line for line in expected if line not in shown]
    assert not missing, '\n'.join(missing)
