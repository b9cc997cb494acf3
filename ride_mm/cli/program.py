"""A program: its options are read, and errors that are meant for its user told."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from ..engine.checkpoint_io import CheckpointError
from ..engine.hooks.kd import TeacherError
from ..engine.hooks.nan_guard import NonFiniteError
from ..engine.hooks.schedule_guard import ScheduleChangedError
from .errors import UsageError

# Where the code of ride_mm lies.
PACKAGE = Path(__file__).parents[1]
# Exit status of a program that Ctrl-C ended.
INTERRUPTED = 128 + 2
# Seconds that the other processes leave to the first one to tell what is wrong.
PATIENCE = 10

# What our own errors are.
KINDS = (ValueError, TypeError, RuntimeError, OSError, ImportError)
# Errors whose message says it all; others keep their traceback.
USER_ERRORS = (
    UsageError,
    CheckpointError,
    NonFiniteError,
    ScheduleChangedError,
    TeacherError,
)


def run_main(
    main: Callable[[argparse.Namespace], object],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    error_status: int = 1,
) -> object:
    """Run a tool; errors that are meant for its user are printed without traceback.

    Args:
        main: The tool.
        parser: Of its options.
        argv: The options, None for those of the program.
        error_status: Exit status after such an error.

    Returns:
        What ``main`` returns.
    """
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        return main(args)
    except BrokenPipeError:
        # Whoever read the output has gone; nor can Python write what is left of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(error_status)
    except Exception as err:
        cause = err.__context__
        if isinstance(err, SyntaxError) and isinstance(cause, KeyboardInterrupt):
            # MMEngine takes a Ctrl-C, while it formats a config, for wrong syntax.
            _interrupted()
        if isinstance(err, OSError) and err.filename is not None:
            # From any process: a disk may be full, or a file absent, on one machine.
            _exit(f'error: {err.filename}: {err.strerror or err}', error_status)
        if not (isinstance(err, USER_ERRORS) or says_expected(err)):
            raise
        if not is_first_process():
            # The first one tells the same; the launcher ends all when the first of any
            # has ended, so wait for that. What is wrong here alone is told here.
            time.sleep(PATIENCE)
        _exit(f'error: {err}', error_status)
    except KeyboardInterrupt:
        _interrupted()


def says_expected(err: Exception) -> bool:
    """Whether an error is one of ours that tells its user what is wrong.

    That is what the package itself raises with the words "expected" or "unusable", not
    what something that it calls does.
    """
    if not isinstance(err, KINDS):
        return False
    raised = err.__traceback__
    while raised is not None and raised.tb_next is not None:
        raised = raised.tb_next
    file = raised.tb_frame.f_code.co_filename if raised else ''
    ours = Path(file).is_relative_to(PACKAGE)
    return ours and any(word in str(err) for word in ('expected', 'unusable'))


def is_first_process() -> bool:
    """Whether this process is the one that speaks; also before they are connected."""
    names = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return int(next((os.environ[n] for n in names if n in os.environ), 0)) == 0


def say(message: str) -> None:
    """Print a message, in one process only."""
    if is_first_process():
        print(message, flush=True)


def _interrupted() -> NoReturn:
    if is_first_process():
        print('interrupted', file=sys.stderr)
    sys.exit(INTERRUPTED)


def _exit(message: str, status: int) -> NoReturn:
    if status == 1:
        sys.exit(message)
    print(message, file=sys.stderr)
    sys.exit(status)
