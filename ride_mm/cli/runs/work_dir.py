"""A work directory belongs to one training."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...utils.folders import missing_folders, remove_empty
from ..errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = '.ride_mm.lock'
IN_USE = (
    'expected a work directory of this training alone, got one that another training '
    'is writing to; wait for it to end or choose another --work-dir'
)
STARTED = ('epoch_*.pth', 'iter_*.pth', 'last_checkpoint')
OF_A_RUN = (*STARTED, 'best_*.pth')


@contextmanager
def locked(work_dir: str | Path, refusal: str = IN_USE) -> Iterator[None]:
    """Keep other trainings out of a work directory, from one process of this one.

    The lock ends with the process, however it ends. It is one of POSIX, which worker
    processes do not inherit: a killed run's workers live on for some seconds. Where
    there are no such locks, nothing is kept out. A folder that is made for it, and that
    nothing else is written to, goes again.

    Args:
        work_dir: The folder.
        refusal: What others are told.

    Raises:
        UsageError: If another process holds it.
    """
    work_dir = Path(work_dir)
    missing = missing_folders(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    lock = work_dir / LOCK
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            # Other errors are those of file systems without locks.
            if err.errno in (errno.EACCES, errno.EAGAIN):
                raise UsageError(f'{work_dir}: {refusal}') from None
        yield
    finally:
        if missing and list(work_dir.iterdir()) == [lock]:
            lock.unlink()
            remove_empty(missing)
        os.close(descriptor)


def refuse_earlier_run(work_dir: str | Path) -> None:
    """Check that a training that starts anew does not mix with an earlier one.

    Raises:
        UsageError: If there are checkpoints, with the ways on.
    """
    found = _files(work_dir, STARTED)
    if found:
        newest = max(reversed(found), key=lambda path: path.suffix == '.pth')
        raise UsageError(
            f'{work_dir}: expected a work directory without checkpoints for a new '
            f'training, got {newest.name}; go on from it with --resume, choose '
            'another --work-dir, or discard the earlier checkpoints with --overwrite'
        )


def earlier_run(work_dir: str | Path, load_from: str | None) -> list[Path]:
    """Find the checkpoints of an earlier run, nothing else.

    Args:
        work_dir: Where they are.
        load_from: The weights that training is to start from, which must not be there.

    Returns:
        What a run that starts anew has to remove.

    Raises:
        UsageError: If the weights to start from would be removed.
    """
    found = _files(work_dir, OF_A_RUN)
    start = load_from and Path(load_from).expanduser().resolve()
    if start in [path.resolve() for path in found]:
        raise UsageError(
            f'--overwrite: expected weights to start from outside of {work_dir}, whose '
            f'checkpoints it removes, got load_from={load_from}'
        )
    return found


def _files(work_dir: str | Path, patterns: tuple[str, ...]) -> list[Path]:
    """The files of these names, oldest first."""
    found = [path for pattern in patterns for path in Path(work_dir).glob(pattern)]
    found = [path for path in found if path.is_file() or path.is_symlink()]
    return sorted(found, key=lambda path: path.lstat().st_mtime)
