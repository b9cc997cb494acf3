"""What is left to do of a training, with its output on the screen."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..experiments import Run, Status, job_of, status_of
from ..program import say
from .plan import CLASSES


def announce(text: str) -> None:
    """Print a heading at once, before the output of what it announces."""
    say(f'\n==> {text}')


def finish(run: Run, position: str, device: str) -> dict[str, float]:
    """Train and test a model, as far as that has not been done.

    Args:
        run: The training.
        position: Where it stands among all, for the reader.
        device: ``'cpu'`` or ``'auto'``.

    Returns:
        The metrics of the test.

    Raises:
        UsageError: If one of the tools fails.
    """
    epochs = run.content['train_cfg']['max_epochs']
    headings = {
        'training': f'{position} Training {run.name} for {epochs} epochs: '
        f'{run.work_dir}',
        'testing': f'Testing {run.name}',
    }
    steps = job_of(run).steps
    if run.checkpoint.is_file():
        announce(f'{position} {run.name} is trained: {run.checkpoint}')
        steps = () if is_tested(run) else steps[-1:]
    for step in steps:
        announce(headings[step.what])
        step.before()
        call(step.command, device)
        step.after()
    return run.metrics()


def is_tested(run: Run) -> bool:
    """Whether a model was tested after its checkpoint was written."""
    return status_of(run) is Status.FINISHED and (run.work_dir / CLASSES).is_file()


def call(command: Sequence[str], device: str) -> None:
    """Run one of the tools; its output appears as it comes.

    Args:
        command: Python, the tool and its arguments.
        device: ``'cpu'`` or ``'auto'``.

    Raises:
        UsageError: If the tool fails.
    """
    environ = {**os.environ, 'PYTHONUNBUFFERED': '1'}
    if device == 'cpu':
        environ['CUDA_VISIBLE_DEVICES'] = ''
    status = subprocess.run(command, env=environ).returncode
    if status:
        raise UsageError(
            f'{Path(command[1]).name} failed with exit status {status}; the reason '
            f'stands above. The command was:\n  {shlex.join(command)}'
        )
