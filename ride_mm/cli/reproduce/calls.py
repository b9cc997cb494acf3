"""The commands that make the rows of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..experiments import shown
from ..experiments.options import COMPILED_OPTIONS
from .found import Found
from .plan import plan_runs, run_name
from .rows import Benchmark


@dataclass(frozen=True)
class Call:
    """A call of ``tools/reproduce.py``, but for its rows.

    Attributes:
        train_options: Options of ``tools/train.py``.
        compiled: Whether the backbone is compiled.
        any_files: Whether other data files than the published ones are taken.
        free: Settings of how data is read and computed.
        seeds: Of each row.
    """

    train_options: tuple[str, ...]
    compiled: bool
    any_files: bool
    free: tuple[str, ...]
    seeds: tuple[int, ...] = ()

    def text(self, benchmark: Benchmark, schedule: str, rows: Sequence[Found]) -> str:
        """Write the call that makes rows."""
        parts = ['python tools/reproduce.py', benchmark.name, '--schedule', schedule]
        parts += ['--rows', *(one.row.name for one in rows)]
        parts += ['--seeds', *map(str, self.seeds)]
        parts += ['--any-files'] if self.any_files else []
        parts += self.train_options
        parts += ['--compile'] if self.compiled else []
        parts += ['--cfg-options', *self.free] if self.free else []
        return ' '.join(parts)


def commands(benchmark: Benchmark, schedule: str, found: Sequence[Found]) -> str:
    """The calls that make the rows, and what they run for a seed of each."""
    calls, steps, seen = [], [], set()
    for call, rows in by_call(benchmark, found).items():
        calls.append(call.text(benchmark, schedule, rows))
        new = [one for one in rows if (one.row.name, call.train_options) not in seen]
        seen |= {(one.row.name, call.train_options) for one in new}
        steps += steps_of(benchmark, schedule, new, call.train_options)
    first = 'first commands do' if len(calls) > 1 else 'first command does'
    return '\n'.join(
        [
            f'The {first} all of this; a second call resumes. What is run for the '
            'first seed of each row, without the settings that leave results as they '
            'are (where the data is, how it is read and computed):',
            '',
            '```bash',
            *calls,
            '',
            *steps,
            '```',
        ]
    )


def by_call(benchmark: Benchmark, found: Sequence[Found]) -> dict[Call, list[Found]]:
    """Finished trainings by the call that makes them."""
    groups: dict[Call, list[Found]] = {}
    for one in found:
        parts: dict[Call, dict[int, Mapping[str, Any]]] = {}
        for seed, record in one.finished.items():
            parts.setdefault(call_of(benchmark, record), {})[seed] = record
        for call, records in parts.items():
            with_seeds = replace(call, seeds=tuple(sorted(records)))
            groups.setdefault(with_seeds, []).append(Found(one.row, records, {}))
    return groups


def call_of(benchmark: Benchmark, record: Mapping[str, Any]) -> Call:
    """The call that has made a training; where the data was is not part of it."""
    command = record['command']
    of_files = {_leaf(option) for option in benchmark.any_files}
    compiled = COMPILED_OPTIONS[-1] in command['free']
    told = COMPILED_OPTIONS if compiled else ()
    rest = [
        option
        for option in command['free']
        if option not in told and not option.startswith('data_root=')
    ]
    return Call(
        train_options=tuple(command.get('train_options', ())),
        compiled=compiled,
        any_files=any(_leaf(option) in of_files for option in rest),
        free=tuple(option for option in rest if _leaf(option) not in of_files),
    )


def _leaf(option: str) -> str:
    """``check_md5=False`` of any dataset, wherever it stood in earlier configs."""
    return option.rpartition('.')[2]


def steps_of(
    benchmark: Benchmark, schedule: str, rows: Sequence[Found], options: Sequence[str]
) -> list[str]:
    """What a call runs for the first seed of each row."""
    folder = Path('work_dirs', 'reproduce', benchmark.name)
    lines = []
    for one in rows:
        name, seed = one.row.name, min(one.finished)
        runs = plan_runs(benchmark, schedule, [name], [seed], folder, (), options)
        run = runs[run_name(schedule, name, seed)]
        lines += [shown(run.train_command(False)), shown(run.test_command(False))]
    return lines
