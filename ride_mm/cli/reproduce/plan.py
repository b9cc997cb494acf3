"""The trainings of a table, and what is left to do of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UsageError
from ..experiments import (
    Run,
    Status,
    check_config,
    config_content,
    last_checkpoint_name,
    shown,
    status_of,
)
from .rows import Benchmark


def run_name(schedule: str, row: str, seed: int) -> str:
    """Name of a training, which is that of its folder too."""
    return f'{schedule}/{row}/seed_{seed}'


def plan_runs(
    benchmark: Benchmark,
    schedule: str,
    rows: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    free: Sequence[str] = (),
    train_options: Sequence[str] = (),
) -> dict[str, Run]:
    """Describe the trainings of some rows, and of those they build on.

    Args:
        benchmark: The table.
        schedule: Name of the schedule.
        rows: Names of the rows.
        seeds: Of each row; what a row builds on has its own seed.
        folder: Of all trainings of the table.
        free: Settings ``KEY=VALUE`` that leave the results as they are.
        train_options: Further options of ``tools/train.py``, for all.

    Returns:
        By name, what others need before them.

    Raises:
        UsageError: If a setting does not fit a config.
    """
    runs = {}
    for row in benchmark.with_needs(rows):
        config = row.config.format(schedule=benchmark.schedules[schedule])
        cfg = check_config(config, [*row.options, *free], train_options)
        for seed in seeds:
            name = run_name(schedule, row.name, seed)
            runs[name] = Run(
                name=name,
                config=config,
                work_dir=folder / name,
                seed=seed,
                checkpoint_name=last_checkpoint_name(cfg),
                content=config_content(cfg),
                options=row.options,
                free=tuple(free),
                train_options=tuple(train_options),
                needs={
                    setting: runs[run_name(schedule, needed, seed)]
                    for setting, needed in row.needs.items()
                },
            )
    return runs


def unfinished(
    runs: Mapping[str, Run], names: Sequence[str]
) -> list[tuple[Run, Status]]:
    """What is left to do for trainings, in order, each after what it needs.

    What a finished training was built on may have been removed since.

    Raises:
        UsageError: If a folder is that of another training.
    """
    found = {}

    def add(run: Run) -> None:
        if run.name in found:
            return
        status = status_of(run)
        if status is Status.FINISHED:
            return
        if status is not Status.TRAINED:
            for needed in run.needs.values():
                # Also for its check of the folder.
                if status_of(needed) is Status.FINISHED:
                    _check_there(needed, run)
                elif not needed.checkpoint.is_file():
                    add(needed)
        found[run.name] = (run, status)

    for name in names:
        add(runs[name])
    return list(found.values())


def _check_there(needed: Run, run: Run) -> None:
    """Refuse to build on a training whose checkpoint was removed after its test.

    Raises:
        UsageError: With what to do.
    """
    if not needed.checkpoint.is_file():
        raise UsageError(
            f'{run.name}: expected {needed.checkpoint} to build on, got no such file '
            f'of a finished training; put it back, or remove {needed.work_dir} to '
            'train it again'
        )


def commands_of(run: Run, status: Status) -> list[str]:
    """What is left to do, as a user types it."""
    train, test = shown(run.train_command()), shown(run.test_command())
    return [test] if status is Status.TRAINED else [train, test]
