"""How far a training has come, and what is left to do of it."""

import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from ...engine.checkpoint_io import latest_checkpoint
from ...engine.hooks.run_record import read_record
from ...engine.hooks.schedule_guard import differences
from ...utils.listing import first_few
from ..errors import UsageError
from ..files import write_json
from .pool import Job, Step
from .run import TEST, Run, executable

COMMAND = 'command.json'
# Of the command: what must be the same for a run to be this one.
DECIDES = ('config', 'seed', 'options', 'train_options', 'starts_from')


class Status(Enum):
    """How far a training has come."""

    NEW = 'not started'
    STARTED = 'interrupted'
    TRAINED = 'trained, not tested'
    FINISHED = 'finished'


def status_of(run: Run) -> Status:
    """Tell how far a training has come.

    Raises:
        UsageError: If its folder is that of another training.
    """
    known = read_command(run.work_dir)
    if known is not None and not has_begun(run):
        return Status.NEW  # What failed at once may be corrected.
    check_same(run, known)
    test, checkpoint = run.work_dir / TEST, run.checkpoint
    if known is None:
        # Trained by hand, perhaps: train.py will tell whether it is the same.
        started = latest_checkpoint(run.work_dir) is not None
        return Status.STARTED if started else Status.NEW
    if test.is_file() and not (
        checkpoint.is_file() and checkpoint.stat().st_mtime > test.stat().st_mtime
    ):
        return Status.FINISHED
    if checkpoint.is_file():
        return Status.TRAINED
    return Status.STARTED if latest_checkpoint(run.work_dir) else Status.NEW


def has_begun(run: Run) -> bool:
    """Whether a training has left anything that would be lost."""
    tested = (run.work_dir / TEST).is_file()
    return tested or latest_checkpoint(run.work_dir) is not None


def check_same(run: Run, known: Mapping[str, Any] | None) -> None:
    """Refuse a folder in which another training is.

    Args:
        run: The training.
        known: The command that made what is in its folder, None if that is not known.

    Raises:
        UsageError: With what differs.
    """
    if known is None:
        seeds = {session.get('seed') for session in read_record(run.work_dir)}
        others = {'seed': seeds.pop()} if seeds - {run.seed, None} else {}
        expected = {'seed': run.seed}
    else:
        expected = {**run.describe(), 'starts_from': starts_from(run)}
        others = {
            key: known.get(key)
            for key in DECIDES
            if key != 'starts_from' and known.get(key) != expected[key]
        }
        for setting, digest in (known.get('starts_from') or {}).items():
            # A checkpoint that was removed since is no other one.
            if expected['starts_from'].get(setting, digest) != digest:
                others['starts_from'] = known['starts_from']
    if others:
        which = ', '.join(
            f'{key} {expected[key]} and not {value}' for key, value in others.items()
        )
        raise UsageError(
            f'{run.work_dir}: expected the training {run.name} with {which}; remove '
            'the folder, or choose another --work-dir'
        )
    if known is not None:
        check_content(run, known)


def check_content(run: Run, known: Mapping[str, Any]) -> None:
    """Refuse a folder that was made with a config of other content.

    Raises:
        UsageError: With the first differences.
    """
    before = known['content'] or {}  # An earlier version noted none, or less.
    now = {key: value for key, value in run.content.items() if key in before}
    # As JSON has it.
    found = list(differences(before, json.loads(json.dumps(now))))
    if found:
        raise UsageError(
            f'{run.work_dir}: expected the config {run.config} as it was when the '
            f'folder was made, got a changed one: {first_few(found, 3, "; ")}; '
            'remove the folder, or choose another --work-dir'
        )


def starts_from(run: Run) -> dict[str, str]:
    """SHA-256 of the checkpoints that a training starts from, by setting."""
    return {
        setting: hashlib.sha256(needed.checkpoint.read_bytes()).hexdigest()
        for setting, needed in run.needs.items()
        if needed.checkpoint.is_file()
    }


def read_command(work_dir: str | Path) -> dict[str, Any] | None:
    """Read what made a folder, None if that is not known.

    Raises:
        UsageError: If the file is none of ours.
    """
    path = Path(work_dir) / COMMAND
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        known = {key: content[key] for key in (*DECIDES, 'free', 'notes')}
        return known | {'content': content.get('content')}
    except (ValueError, KeyError, TypeError) as err:
        raise UsageError(
            f'{path}: expected the command of a training, got {err!r}'
        ) from None


def write_command(run: Run, notes: Mapping[str, Any]) -> None:
    """Note what makes a folder, with the checkpoints that are there to start from."""
    content = {
        **run.describe(),
        'starts_from': starts_from(run),
        'free': list(run.free),
        'notes': dict(notes),
        'content': dict(run.content),
    }
    write_json(content, run.work_dir / COMMAND)


def job_of(run: Run, notes: Mapping[str, Any] | None = None) -> Job:
    """What is left to do of a training that is not finished.

    Args:
        run: The training.
        notes: What the experiment wants to be written down with it.

    Returns:
        The job: training, unless that is done, and the test.
    """
    notes = notes or {}

    def begin() -> None:
        run.work_dir.mkdir(parents=True, exist_ok=True)
        if status_of(run) is Status.NEW:
            write_command(run, notes)

    def trained() -> None:
        if not run.checkpoint.is_file():
            raise UsageError(
                f'{run.work_dir}: expected {run.checkpoint_name} after training, got '
                'none'
            )
        if read_command(run.work_dir) is None:
            write_command(run, notes)

    def tested() -> None:
        run.metrics()

    train = Step('training', executable(run.train_command()), begin, trained)
    test = Step('testing', executable(run.test_command()), after=tested)
    status = status_of(run)
    return Job(
        name=run.name,
        steps=(test,) if status is Status.TRAINED else (train, test),
        log=run.console,
        needs=tuple(needed.name for needed in run.needs.values()),
        progress=lambda: progress_of(run),
    )


def progress_of(run: Run) -> str:
    """The last epoch that is saved, such as ``epoch 12 of 30``."""
    kind, last = Path(run.checkpoint_name).stem.split('_')
    try:
        latest = latest_checkpoint(run.work_dir)
    except OSError:
        latest = None
    number = Path(latest).stem.partition('_')[2] if latest else '0'
    return f'{kind} {number} of {last}'
