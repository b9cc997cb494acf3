"""Files that are there completely or not at all, and those in folders."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

TEMPORARY_SUFFIX = '.ride_mm-tmp'


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its place when it is written, and else leaves nothing."""
    temporary = target.with_name(f'.{target.name}.{os.getpid()}{TEMPORARY_SUFFIX}')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, 'wb') as file:
            yield file
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def remove_temporary_files(folder: str | Path) -> list[str]:
    """Remove what a killed :func:`whole_file` left, and return the names."""
    leftovers = sorted(Path(folder).glob(f'.*{TEMPORARY_SUFFIX}'))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return [path.name for path in leftovers]


def files_below(
    folder: str | Path, leave_out: Iterable[str | Path] = ()
) -> Iterator[str]:
    """Paths of the files in a folder and those below it, by name.

    Links are followed, but no folder is searched twice, for they may run in circles.
    Hidden folders are passed over.

    Args:
        folder: Where to search.
        leave_out: Folders below it that are not searched.
    """
    seen = {os.path.realpath(path) for path in (folder, *leave_out)}
    for where, folders, files in os.walk(folder, followlinks=True):
        yield from (os.path.join(where, name) for name in sorted(files))
        inside = {
            os.path.realpath(os.path.join(where, name)): name
            for name in sorted(folders)
            if not name.startswith('.')
        }
        folders[:] = [name for real, name in inside.items() if real not in seen]
        seen.update(inside)
