"""Kills training runs at chosen moments and resumes them; a program for the tests.

    python kill_and_resume.py FOLDER SCENARIO...

It imports everything once and forks a process for each run, so CUDA must be off. Writes
``FOLDER/outcomes.json``: by scenario how the runs ended, the digest of the final
checkpoint, and the files that are left.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot  # noqa: F401  (once, instead of in each process)
import torch
from engine_helpers import checkpoint_digest, files_in, tiny_config
from mmengine.config import Config
from mmengine.runner import ValLoop
from mmpretrain.models import ImageClassifier

from ride_mm.cli import train_main

KILLED_EPOCH = 2
LAST_EPOCH = 3


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before_call(owner: object, name: str, matches: Callable, action: Callable) -> None:
    """Replace a function such that a call that matches does something first."""
    original = getattr(owner, name)

    def wrapper(*args, **kwargs):
        if matches(*args):
            action(*args)
        return original(*args, **kwargs)

    setattr(owner, name, wrapper)


def target_is(name: str) -> Callable:
    return lambda source, target, *_: Path(target).name == name


def epoch_file(epoch: int) -> str:
    return f'epoch_{epoch}.pth'


def best_file(epoch: int) -> str:
    return f'best_score_nll_epoch_{epoch}.pth'


def half_written() -> None:
    """Die with half of the temporary file on disk."""

    def halve(descriptor: int) -> None:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        die()

    def matches(descriptor: int) -> bool:
        return epoch_file(KILLED_EPOCH) in os.readlink(f'/proc/self/fd/{descriptor}')

    before_call(os, 'fsync', matches, halve)


def before_rename() -> None:
    before_call(os, 'replace', target_is(epoch_file(KILLED_EPOCH)), lambda *_: die())


def _rename_then_die(source: str, target: str) -> None:
    os.rename(source, target)
    die()


def after_rename() -> None:
    matches = target_is(epoch_file(KILLED_EPOCH))
    before_call(os, 'replace', matches, _rename_then_die)


def after_first_rename() -> None:
    """There is a checkpoint, but no last_checkpoint that names it."""
    before_call(os, 'replace', target_is(epoch_file(1)), _rename_then_die)


def before_pointer() -> None:
    calls = []

    def matches(source: str, target: str) -> bool:
        if Path(target).name == 'last_checkpoint':
            calls.append(Path(source).read_text())
        return bool(calls) and calls[-1].endswith(epoch_file(KILLED_EPOCH))

    before_call(os, 'replace', matches, lambda *_: die())


def before_prune() -> None:
    before_call(
        Path, 'unlink', lambda path: path.name == epoch_file(1), lambda *_: die()
    )


def before_validation() -> None:
    before_call(
        ValLoop,
        'run',
        lambda loop: loop.runner.epoch == KILLED_EPOCH,
        lambda *_: die(),
    )


def before_last_validation() -> None:
    before_call(
        ValLoop, 'run', lambda loop: loop.runner.epoch == LAST_EPOCH, lambda *_: die()
    )


def after_best() -> None:
    """The best checkpoint is new, the epoch's checkpoint does not know of it yet."""
    matches = target_is(best_file(KILLED_EPOCH))
    before_call(os, 'replace', matches, _rename_then_die)


def before_old_best_is_removed() -> None:
    before_call(
        Path, 'unlink', lambda path: path.name == best_file(1), lambda *_: die()
    )


def mid_epoch() -> None:
    steps = []

    def matches(*_) -> bool:
        steps.append(1)
        return len(steps) == 5

    before_call(ImageClassifier, 'train_step', matches, lambda *_: die())


MOMENTS = {
    function.__name__: function
    for function in (
        half_written,
        before_rename,
        after_rename,
        after_first_rename,
        before_pointer,
        before_prune,
        before_validation,
        before_last_validation,
        after_best,
        before_old_best_is_removed,
        mid_epoch,
    )
}


def in_child(function: Callable, log: Path) -> int:
    """Run a function in a process of its own; its exit code, or minus its signal."""
    child = os.fork()
    if child == 0:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(folder: Path, workers: int, moment: Callable | None = None) -> None:
    """Train or go on, and be killed at a moment."""
    torch.set_num_threads(1)
    # MMEngine formats the config for each checkpoint, which takes most of the time.
    Config.pretty_text = property(lambda self: '')
    if moment is not None:
        moment()
    options = [
        f'train_dataloader.num_workers={workers}',
        f'train_dataloader.persistent_workers={workers > 0}',
    ]
    config = folder.parent / 'tiny.py'
    train_main(
        f'{config} --resume --work-dir {folder / "run"} --cfg-options'.split() + options
    )


def outcome(root: Path, scenario: str) -> dict:
    """Run one scenario: ``MOMENT-WORKERS``, or ``straight-WORKERS`` without a kill."""
    moment, workers = scenario.rsplit('-', 1)
    folder = root / scenario
    folder.mkdir(parents=True)
    log = folder / 'log.txt'
    exits = []
    if moment != 'straight':
        kill = MOMENTS[moment]
        exits.append(in_child(lambda: train(folder, int(workers), kill), log))
    after_kill = files_in(folder / 'run') if exits else []
    exits.append(in_child(lambda: train(folder, int(workers)), log))
    final = folder / 'run' / epoch_file(LAST_EPOCH)
    return {
        'exits': exits,
        'after_kill': after_kill,
        'digest': checkpoint_digest(final) if final.exists() else None,
        'files': files_in(folder / 'run'),
        'log': log.read_text(),
    }


if __name__ == '__main__':
    root = Path(sys.argv[1])
    root.mkdir(parents=True, exist_ok=True)
    tiny_config(root).dump(root / 'tiny.py')
    outcomes = {scenario: outcome(root, scenario) for scenario in sys.argv[2:]}
    (root / 'outcomes.json').write_text(json.dumps(outcomes))
