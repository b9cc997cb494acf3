"""The report of a table, in Markdown."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...analysis.tables import ABSENT, format_percent, format_table
from ...engine.checkpoint_io import write_atomically
from ...utils import SHOT_GROUPS
from ..experiments import Spread
from .calls import commands
from .found import Found
from .provenance import provenance
from .rows import Benchmark, Published

GROUPS = ('all', *SHOT_GROUPS)
PREFIX = 'shot_accuracy/'
EXPERTS = 'expert_usage/mean_experts'
NOT_RUN = 'not run'


def report_of(
    benchmark: Benchmark,
    records: Mapping[str, Mapping[str, Any]],
    schedule: str | None = None,
    notes: Mapping[str, str] | None = None,
) -> str:
    """Write the report.

    Args:
        benchmark: The table.
        records: Of all trainings, by ``SCHEDULE/ROW/seed_N``.
        schedule: Has a section even if there is nothing of it yet.
        notes: To print with a schedule.
    """
    parts = [
        f'# {benchmark.title}',
        f'Written by `python tools/reproduce.py {benchmark.name}`; every figure is in '
        'the `.json` beside this file. Top-1 accuracy in percent on the test set, of '
        'the checkpoint of the last epoch, whatever came out best. `sd` is the '
        'standard deviation between seeds (n - 1). Published figures are those of the '
        'source beside them, not ours.',
    ]
    for name in benchmark.schedules:
        found = find(benchmark, records, name)
        if name == schedule or any(row.finished or row.others for row in found):
            parts += section(benchmark, name, found, (notes or {}).get(name))
    return '\n\n'.join(parts) + '\n'


def write_report(text: str, path: Path) -> None:
    """Write the report."""
    write_atomically(text, path)


def find(
    benchmark: Benchmark, records: Mapping[str, Mapping[str, Any]], schedule: str
) -> list[Found]:
    """Sort the records of a schedule by row and seed."""
    found = []
    for row in benchmark.rows:
        finished, others = {}, {}
        for name, record in records.items():
            match = re.fullmatch(rf'{schedule}/{re.escape(row.name)}/seed_(\d+)', name)
            if match is None:
                continue
            if record['metrics'] is None:
                others[int(match[1])] = record['state']
            else:
                finished[int(match[1])] = record
        found.append(Found(row, dict(sorted(finished.items())), others))
    return found


def section(
    benchmark: Benchmark, schedule: str, found: Sequence[Found], note: str | None
) -> list[str]:
    """Paragraphs of a schedule."""
    published = next(iter(benchmark.schedules))
    made = [one for one in found if one.finished]
    parts = [f'## Schedule {schedule}', provenance(made, schedule, published, note)]
    parts.append(summary_table(found, schedule == published))
    notes = [
        f'- {one.row.title}: {other_figure(p)}'
        for one in found
        for p in one.row.published
        if p is not one.row.published[0] or p.note
    ]
    if notes:
        parts.append('\n'.join(['Of the published figures:', '', *notes]))
    if made:
        parts += ['### Each run', runs_table(made)]
        parts += ['### Commands', commands(benchmark, schedule, made)]
    return parts


def summary_table(found: Sequence[Found], comparable: bool) -> str:
    """The table of means, beside the published figures.

    Args:
        found: Of each row.
        comparable: Whether the schedule is that of the published figures.
    """
    columns = ['row', 'runs', *GROUPS, 'experts', 'published', 'source']
    if comparable:
        columns.append('difference')
    rows = []
    for one in found:
        figures = one.figures
        cells = [one.row.title, str(len(one.finished)) if one.finished else NOT_RUN]
        cells += [mean_and_sd(figures.get(f'{PREFIX}{group}')) for group in GROUPS]
        used = figures.get(EXPERTS)
        cells.append(ABSENT if used is None else f'{used.mean:.2f}')
        if not one.finished and one.others:
            cells[1] = '; '.join(sorted(set(one.others.values())))
        known = one.row.published[0] if one.row.published else None
        cells += [in_short(known), known.source if known else ABSENT]
        if comparable:
            cells.append(difference(figures.get(f'{PREFIX}all'), known))
        rows.append(cells)
    text = format_table(columns, rows)
    if comparable:
        text += (
            '\n\n`*`: below the published figure by more than twice the standard '
            'deviation between seeds.'
        )
    return text


def mean_and_sd(figure: Spread | None) -> str:
    """Write a figure: ``48.6 ± 0.5``, without the second part for one run."""
    if figure is None:
        return ABSENT
    mean = f'{figure.mean:.2f}'
    return mean if figure.sd is None else f'{mean} ± {figure.sd:.2f}'


def in_short(known: Published | None) -> str:
    """Write a published figure: ``48.0 (68.1/49.2/23.9)``."""
    if known is None:
        return ABSENT
    digits = 1 if round(known.accuracy, 1) == known.accuracy else 2
    text = f'{known.accuracy:.{digits}f}'
    if known.by_shots is not None:
        text += f' ({"/".join(format_percent(value) for value in known.by_shots)})'
    return text


def other_figure(known: Published) -> str:
    """Write a published figure with its source."""
    note = f' ({known.note})' if known.note else ''
    return f'{in_short(known)}, {known.source}{note}.'


def difference(figure: Spread | None, known: Published | None) -> str:
    """Write the distance to the published figure, marked if that is more than noise."""
    if figure is None or known is None:
        return ABSENT
    gap = figure.mean - known.accuracy
    short = figure.sd is not None and gap < -2 * figure.sd
    return f'{gap:+.2f}{" *" if short else ""}'


def runs_table(found: Sequence[Found]) -> str:
    """The table of single runs."""
    rows = []
    for one in found:
        for seed, record in one.finished.items():
            metrics = record['metrics']
            values = [metrics.get(f'{PREFIX}{group}') for group in GROUPS]
            cells = [ABSENT if v is None else f'{v:.2f}' for v in values]
            used = metrics.get(EXPERTS)
            cells.append(ABSENT if used is None else f'{used:.2f}')
            rows.append([one.row.title, str(seed), *cells])
    return format_table(['row', 'seed', *GROUPS, 'experts'], rows)
