"""The files of a V-MoE checkpoint: an index and its shards."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import CheckpointError, DamagedCheckpointError


def shard_path(prefix: Path, number: int, count: int) -> Path:
    """Path of one of the ``count`` shards."""
    return Path(f'{prefix}.data-{number:05d}-of-{count:05d}')


def vmoe_prefix(prefix: str | Path) -> Path:
    """Find the prefix of a checkpoint's files.

    Raises:
        FileNotFoundError: If there is no index of that name.
        CheckpointError: If it is an address, or a folder.
    """
    text = str(prefix)
    if '://' in text:
        raise CheckpointError(
            f'{text}: expected files on this machine, got an address; download '
            'PREFIX.index and all of PREFIX.data-*'
        )
    text = re.sub(r'\.(index|data-\d+-of-\d+)$', '', text)
    path = Path(text).expanduser()
    index = Path(f'{path}.index')
    if index.is_file():
        return path
    if path.is_dir():
        raise CheckpointError(
            f'{path}: expected the prefix of PREFIX.index and PREFIX.data-*, got a '
            'folder; V-MoE code of 2023-08 and later trains into folders of Orbax, '
            'which are not read here'
        )
    found = [
        file.name for file in sorted(path.parent.glob(f'{glob.escape(path.name)}*'))
    ]
    raise FileNotFoundError(
        f'{index}: expected the index of a V-MoE checkpoint, got no such file'
        + (f'; beside it: {", ".join(found[:3])}' if found else '')
    )


def check_shards(prefix: Path, sizes: Sequence[int]) -> None:
    """Check that all shards are there and large enough, before any is read.

    Args:
        prefix: Of :func:`vmoe_prefix`.
        sizes: Bytes of the numbers in each shard.

    Raises:
        FileNotFoundError: If one is missing.
        DamagedCheckpointError: If there are those of another number of shards instead,
            or one is too short for its arrays.
    """
    paths = [shard_path(prefix, i, len(sizes)) for i in range(len(sizes))]
    missing = [path for path in paths if not path.is_file()]
    pattern = f'{glob.escape(prefix.name)}.data-*-of-*'
    others = sorted(set(prefix.parent.glob(pattern)) - set(paths))
    if missing and others:
        count = 'shard' if len(sizes) == 1 else 'shards'
        raise DamagedCheckpointError(
            f'{missing[0]}: expected {len(sizes)} {count}, as many as '
            f'{prefix.name}.index names, got '
            f'{", ".join(path.name for path in others[:3])}, of another checkpoint'
        )
    if missing:
        raise FileNotFoundError(
            f'{missing[0]}: expected this shard of the {len(sizes)} that '
            f'{prefix.name}.index names, got no such file'
            + (f' ({len(missing)} are missing)' if len(missing) > 1 else '')
        )
    for path, expected in zip(paths, sizes, strict=True):
        size = path.stat().st_size
        if size < expected:
            raise DamagedCheckpointError(
                f'{path}: expected more than {expected:,} bytes, those of its arrays, '
                f'got {size:,}: the file is truncated'
            )
