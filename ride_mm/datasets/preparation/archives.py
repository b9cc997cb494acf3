"""Extract images from tar archives: safely, resumably, and only those wanted."""

import errno
import gzip
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ...utils.files import whole_file
from .errors import PreparationError
from .wanted import Wanted

COMPRESSED = (b'\x1f\x8b', b'BZh', b'\xfd7zXZ')
BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
FULL = {errno.ENOSPC, getattr(errno, 'EDQUOT', errno.ENOSPC)}
CHUNK = 1 << 20
# So many files without an image of the benchmark, and it is another archive.
PATIENCE = 1000


class Member(tarfile.TarInfo):
    """A member of an archive whose end is marked, as that of a complete one is."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> 'Member':
        """Read a header; tarfile takes a file that is cut before one for its end."""
        if len(buf) < tarfile.BLOCKSIZE:
            raise EOFError('no mark of its end')
        return super().frombuf(buf, encoding, errors)


@dataclass
class Extracted:
    """What became of an archive's images.

    Attributes:
        written: Images that were extracted.
        present: Wanted images that were there already.
        known: Images of the benchmark in the archive, wanted or not.
        files: Files in the archive.
    """

    written: int = 0
    present: int = 0
    known: int = 0
    files: int = 0


def extract(
    archive: Path,
    root: Path,
    wanted: Wanted,
    inner_archives: re.Pattern | None = None,
    advance: Callable[[int], object] = lambda amount: None,
) -> Extracted:
    """Extract the wanted images of an archive.

    A file is written under another name and then renamed, so that none is there by
    half. One that is there in its full length is passed over: an extraction that was
    interrupted goes on when it is called again. Of an uncompressed archive only what
    is wanted is read.

    Args:
        archive: A tar archive, compressed or not.
        root: Folder of the layout.
        wanted: Says what is wanted, and where it belongs.
        inner_archives: Pattern of the names of tar archives within it.
        advance: Is told how many bytes of the archive have been passed.

    Returns:
        What became of the images.

    Raises:
        PreparationError: If it is no archive, a damaged one or another one, if a file
            would leave the folder or is no regular file, or if the disk is full.
    """
    done = Extracted()
    passed = 0
    try:
        with open(archive, 'rb') as raw:
            for member, tar in _members(raw, inner_archives):
                _take(archive, member, tar, root, wanted, done)
                advance(raw.tell() - passed)
                passed = raw.tell()
    except BROKEN as err:
        raise PreparationError(
            f'{archive}: expected a complete tar archive, got {type(err).__name__}: '
            f'{err}; fetch it again. {done.written + done.present:,} images are '
            'extracted and stay'
        ) from err
    if not done.known:
        raise PreparationError(
            f'{archive}: expected images of the benchmark, got none in {done.files:,} '
            'files'
        )
    return done


def _members(
    raw: IO[bytes], inner_archives: re.Pattern | None
) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Members of an archive that are no folders, and of archives in it."""
    compressed = raw.read(6).startswith(COMPRESSED)
    raw.seek(0)
    # A stream is read from end to end; of a plain archive parts are passed over.
    with tarfile.open(
        fileobj=raw, mode='r|*' if compressed else 'r:', tarinfo=Member
    ) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # They would fill the memory.
            if member.isdir():
                continue
            inner = inner_archives and inner_archives.search(member.name)
            if inner and member.isreg():
                source = tar.extractfile(member)
                with tarfile.open(
                    fileobj=source,
                    mode='r|' if compressed else 'r:',
                    tarinfo=Member,
                ) as part:
                    while (image := part.next()) is not None:
                        part.members.clear()
                        if not image.isdir():
                            yield image, part
            else:
                yield member, tar


def _take(
    archive: Path,
    member: tarfile.TarInfo,
    tar: tarfile.TarFile,
    root: Path,
    wanted: Wanted,
    done: Extracted,
) -> None:
    """Extract one member if it is wanted and not there."""
    name = member.name
    done.files += 1
    done.known += wanted.is_known(name)
    if not done.known and done.files >= PATIENCE:
        raise PreparationError(
            f'{archive}: expected images of the benchmark, got none among the first '
            f'{PATIENCE:,} files, such as {name}'
        )
    try:
        place = wanted.place(name)
    except ValueError as err:
        raise PreparationError(f'{archive}, {name}: {err}') from None
    if place is None:
        return
    if not member.isreg():
        raise PreparationError(
            f'{archive}, {name}: expected a regular file, got a link or a device'
        )
    target = root / place
    if _has_size(target, member.size):
        done.present += 1
        return
    write_file(tar.extractfile(member), target, member.size)
    done.written += 1


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False


def write_file(source: IO[bytes], target: Path, size: int) -> None:
    """Write a file of a known size so that it is there completely or not at all.

    Raises:
        EOFError: If the source ends too early.
        PreparationError: If the disk is full.
        OSError: If it cannot be written.
    """
    with whole_file(target) as file:
        left = size
        while left:
            data = source.read(min(CHUNK, left))
            if not data:
                raise EOFError(f'the end after {size - left:,} of {size:,} bytes')
            _write(file, data, target)
            left -= len(data)


def _write(file: IO[bytes], data: bytes, target: Path) -> None:
    try:
        file.write(data)
        file.flush()
    except OSError as err:
        if err.errno in FULL:
            raise PreparationError(
                f'{target}: expected space on the disk, got none; make some and call '
                'this again: what is complete stays'
            ) from None
        raise OSError(err.errno, err.strerror, str(target)) from None
