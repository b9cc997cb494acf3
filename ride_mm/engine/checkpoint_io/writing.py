"""Write files such that a kill at any moment leaves a complete one."""

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.fileio import LocalBackend, register_backend

from .plain import plain_data

ATOMIC_BACKEND = 'ride_mm_atomic'
TEMPORARY_SUFFIX = '.ride_mm-tmp'


def write_atomically(content: Any, path: str | Path) -> None:
    """Write a file such that it is there completely or not at all, at any moment.

    Args:
        content: Bytes, a string, or else an object for :func:`torch.save`, which has to
            be plain data.
        path: Where to. A file there is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}')
    with open(temporary, 'wb') as file:
        if isinstance(content, str):
            file.write(content.encode())
        elif isinstance(content, (bytes, memoryview)):
            file.write(content)
        else:
            torch.save(plain_data(content), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a loss of power."""
    if os.name == 'nt':  # Windows opens no folders.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporary_files(folder: str | Path) -> list[str]:
    """Remove what a killed :func:`write_atomically` left, and return the names."""
    leftovers = sorted(Path(folder).glob(f'.*{TEMPORARY_SUFFIX}'))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return [path.name for path in leftovers]


class AtomicBackend(LocalBackend):
    """MMEngine's local files, written by :func:`write_atomically`."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write ``obj`` to ``filepath``."""
        write_atomically(obj, filepath)


register_backend(ATOMIC_BACKEND, AtomicBackend, force=True)
