"""What is known of each training of a table: from work directories, and from before."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...engine.checkpoint_io import latest_checkpoint
from ...engine.hooks.run_record import read_record
from ..errors import UsageError
from ..experiments import read_command
from ..experiments.run import TEST, read_metrics
from ..files import write_json
from .rows import Benchmark

KEYS = ('metrics', 'command', 'sessions', 'state', 'history')


def collect(folder: Path, benchmark: Benchmark) -> dict[str, dict[str, Any]]:
    """Read all trainings of a table that are below a folder.

    Args:
        folder: With ``SCHEDULE/ROW/seed_N``.
        benchmark: The table.

    Returns:
        By that name a record: ``metrics`` of the test (None before it), ``command``,
        ``sessions``, ``state``, in words, and ``history``, see :func:`read_history`.

    Raises:
        UsageError: If a folder is that of another training, or a file is damaged.
    """
    found = {}
    for schedule, suffix in benchmark.schedules.items():
        for row in benchmark.rows:
            for place in sorted((folder / schedule / row.name).glob('seed_*')):
                if re.fullmatch(r'seed_\d+', place.name):
                    record = read_run(place)
                    if record is not None:
                        config = row.config.format(schedule=suffix)
                        check_config_of(place, record, Path(config).stem)
                        found[f'{schedule}/{row.name}/{place.name}'] = record
    return found


def check_config_of(place: Path, record: Mapping[str, Any], expected: str) -> None:
    """Refuse a folder of a row in which another config was trained.

    Raises:
        UsageError: With both.
    """
    got = (record['command'] or {}).get('config', expected)
    if got != expected:
        raise UsageError(f'{place}: expected a training of {expected}, got {got}')


def read_run(work_dir: Path) -> dict[str, Any] | None:
    """Read what is known of a training, None if it has no checkpoint yet."""
    latest = latest_checkpoint(work_dir)
    command = read_command(work_dir)
    tested = (work_dir / TEST).is_file() and command is not None
    if not tested and latest is None:
        return None
    metrics = None
    if command is not None:
        # Where the data was is of no interest elsewhere.
        free = [o for o in command['free'] if 'data_root=' not in o]
        command = {**command, 'free': free}
    if tested:
        metrics = read_metrics(work_dir)
    sessions = [s for s in read_record(work_dir) if s['epochs'][0] < s['epochs'][1]]
    where = Path(latest).stem.replace('_', ' ') if latest else 'unknown'
    state = 'finished' if tested else f'unfinished, {where}'
    return {
        'state': state,
        'metrics': metrics,
        'command': command,
        'sessions': sessions,
        'history': read_history(work_dir),
    }


def read_history(work_dir: Path) -> dict[str, list[list[float]]]:
    """Read what a training logged.

    Returns:
        ``loss``: pairs of epoch and the last loss that was logged in it;
        ``validation``: pairs of epoch and accuracy. What was repeated after an
        interruption is there once.
    """
    loss, validation = {}, {}
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            try:
                scalars = json.loads(line)
            except ValueError:  # Cut off when the training was.
                continue
            if 'loss' in scalars and 'epoch' in scalars:
                loss[scalars['epoch']] = scalars['loss']
            elif 'shot_accuracy/all' in scalars and 'step' in scalars:
                validation[scalars['step']] = scalars['shot_accuracy/all']
    return {
        'loss': [[epoch, value] for epoch, value in sorted(loss.items())],
        'validation': [[epoch, value] for epoch, value in sorted(validation.items())],
    }


def read_records(path: Path, benchmark: Benchmark) -> dict[str, dict[str, Any]]:
    """Read the records that an earlier call wrote; those of finished trainings.

    Raises:
        UsageError: If the file is none of this table.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
        if content['benchmark'] != benchmark.name:
            raise ValueError(f'benchmark {content["benchmark"]!r}')
        runs = {
            name: {key: run[key] for key in KEYS}
            for name, run in content['runs'].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise UsageError(
            f'{path}: expected the records of {benchmark.name}, got {err!r}; remove it '
            'or choose another --out'
        ) from None
    return {name: run for name, run in runs.items() if run['metrics'] is not None}


def read_notes(path: Path) -> dict[str, str]:
    """Read the notes of an earlier call, by schedule, from a file of records."""
    return json.loads(path.read_text()).get('notes', {}) if path.is_file() else {}


def write_records(
    records: Mapping[str, Mapping[str, Any]],
    notes: Mapping[str, str],
    path: Path,
    benchmark: Benchmark,
) -> None:
    """Write all records, in the order of their names, and the notes by schedule."""
    content = {
        'benchmark': benchmark.name,
        'notes': dict(notes),
        'runs': {name: records[name] for name in sorted(records)},
    }
    write_json(content, path)
