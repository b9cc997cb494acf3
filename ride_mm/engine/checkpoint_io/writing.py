"""Write files so that a kill at any moment leaves a complete one."""

import errno
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import torch
from mmengine.fileio import LocalBackend, register_backend

from ...utils.files import whole_file
from .plain import plain_data

ATOMIC_BACKEND = 'ride_mm_atomic'
KINDS = {
    stat.S_IFDIR: 'a folder',
    stat.S_IFIFO: 'a pipe',
    stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device',
    stat.S_IFSOCK: 'a socket',
}


def write_atomically(content: Any, path: str | Path) -> None:
    """Write a file so that it is there completely or not at all, at any moment.

    Args:
        content: Bytes, a string, or else an object for :func:`torch.save`, which has to
            be plain data.
        path: Where to. A file there is replaced; of a symbolic link, the file that it
            leads to.

    Raises:
        OSError: If that fails, or what is there is no regular file, with ``path`` as
            its filename. Nothing is left of it.
    """
    target = Path(os.path.realpath(path))
    try:
        _check_kind(path)
        with whole_file(target) as file:
            _write(content, file)
            file.flush()
            os.fsync(file.fileno())
    except Exception as err:
        cause = _cause(err)
        if cause is None:
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from err
    _sync_folder(target.parent)


def _check_kind(path: str | Path) -> None:
    """Refuse what a rename would put an end to: devices, pipes, an open stream."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    kind = None
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), 'something else')
    elif any(_is_open_as(found, descriptor) for descriptor in (1, 2)):
        kind = "the program's own output"
    if kind is not None:
        code = errno.EISDIR if kind == 'a folder' else errno.EINVAL
        raise OSError(code, f'expected a regular file, got {kind}', str(path))


def _is_open_as(file: os.stat_result, descriptor: int) -> bool:
    try:
        return os.path.samestat(file, os.fstat(descriptor))
    except OSError:  # It is closed.
        return False


def _write(content: Any, file: BinaryIO) -> None:
    if isinstance(content, str):
        file.write(content.encode())
    elif isinstance(content, (bytes, memoryview)):
        file.write(content)
    else:
        torch.save(plain_data(content), file)


def _cause(err: Exception) -> OSError | None:
    """The error of the system; torch.save hides it behind one of its own."""
    for one in (err, err.__context__):
        if isinstance(one, OSError):
            return one
    return None


def _sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a loss of power."""
    if os.name == 'nt':  # Windows opens no folders.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AtomicBackend(LocalBackend):
    """MMEngine's local files, written by :func:`write_atomically`."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write ``obj`` to ``filepath``."""
        write_atomically(obj, filepath)


register_backend(ATOMIC_BACKEND, AtomicBackend, force=True)
