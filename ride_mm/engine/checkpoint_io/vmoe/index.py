"""The index of a V-MoE checkpoint: its arrays, and which shard has what of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .files import shard_path, vmoe_prefix
from .messages import (
    DTYPES,
    INDEX_INFO,
    FormatError,
    UnknownDtypeError,
    dtype_of,
    listed,
    msgpack_package,
    nested,
    of_file,
    payload,
    shape_of,
    unpacker,
)
from .parts import Bounds, bounds_of, check_parts, part_size

# Version of files written since 2022-06-22; older files have none.
VERSION = '20220622'
# Of maps in maps; networks have 6 levels.
MAX_DEPTH = 50


@dataclass(frozen=True)
class ArrayEntry:
    """What the index says of an array.

    Attributes:
        shape: Of the whole.
        dtype: Name of the type of its numbers in the file.
        parts: Where each stored part lies in the array, and the shard that has it.
    """

    shape: tuple[int, ...]
    dtype: str
    parts: tuple[tuple[Bounds, int], ...]

    @property
    def itemsize(self) -> int:
        """Bytes of a number in the file."""
        return np.dtype(DTYPES[self.dtype]).itemsize

    def size_in(self, shard: int) -> int:
        """Numbers that a shard has of it."""
        return sum(part_size(bounds) for bounds, s in self.parts if s == shard)


@dataclass(frozen=True)
class VMoEIndex:
    """What ``PREFIX.index`` says.

    Attributes:
        prefix: Path of the checkpoint, without ``.index``.
        shard_count: Number of files with the numbers.
        arrays: By name, such as ``'Encoder/encoderblock_1/Moe/Mlp/Dense_0/kernel'``, in
            the order of the numbers that they have in the shards.
        version: Of the format; None before it had one.
    """

    prefix: Path
    shard_count: int
    arrays: dict[str, ArrayEntry]
    version: str | None

    def shard(self, number: int) -> Path:
        """Path of a shard."""
        return shard_path(self.prefix, number, self.shard_count)

    def bytes_in(self, shard: int) -> int:
        """Bytes of all numbers that a shard has."""
        return sum(e.size_in(shard) * e.itemsize for e in self.arrays.values())


def read_vmoe_index(prefix: str | Path) -> VMoEIndex:
    """Read which arrays a checkpoint of V-MoE's JAX code has, without their numbers.

    Args:
        prefix: Path without ``.index``, ``~`` allowed; the path of one of the files
            will do.

    Raises:
        FileNotFoundError: If there is no such index.
        DamagedCheckpointError: If it is truncated, damaged or of another kind.
        CheckpointError: If it has numbers of an unknown type, or ``prefix`` is an
            address or names a checkpoint of another format.
    """
    prefix = vmoe_prefix(prefix)
    path = Path(f'{prefix}.index')
    with of_file(path):
        reader = unpacker()
        reader.feed(path.read_bytes())
        content = reader.unpack()
        try:
            reader.skip()
        except msgpack_package().OutOfData:
            pass
        else:
            raise FormatError('expected one msgpack message, got more after it')
        return _index(prefix, content)


def _index(prefix: Path, content: Any) -> VMoEIndex:
    keys = {'shard_count', 'index'}
    if not isinstance(content, Mapping) or not keys <= set(content):
        raise FormatError(
            'expected an index of a V-MoE checkpoint, a map with shard_count and '
            f'index, got {_described(content)}'
        )
    version, count = content.get('version'), content['shard_count']
    if 'version' in content and version != VERSION:
        raise FormatError(f'expected version {VERSION} or none, got {version!r}')
    if type(count) is not int or not 1 <= count < 10**5:
        raise FormatError(f'expected a shard_count from 1 to 99999, got {count!r}')
    arrays = {}
    for name, value in _leaves(content['index']):
        try:
            arrays[name] = _entry(value, count)
        except FormatError as err:
            kind = type(err)
            kind = kind if kind is UnknownDtypeError else FormatError
            raise kind(f'{name}: {err}') from None
    if not arrays:
        raise FormatError('expected arrays in the index, got none')
    return VMoEIndex(prefix, count, arrays, version)


def _leaves(tree: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """The values of nested maps by the path of keys, in JAX's order: keys sorted."""
    if not isinstance(tree, Mapping):
        if not path:
            raise FormatError(f'expected a map as index, got {_described(tree)}')
        yield path, tree
        return
    if path.count('/') > MAX_DEPTH:
        raise FormatError(f'expected at most {MAX_DEPTH} levels of maps, got more')
    for key in tree:
        if not isinstance(key, str) or not key or '/' in key:
            raise FormatError(f'expected names in the index, got {key!r} in {path!r}')
    for key in sorted(tree):
        yield from _leaves(tree[key], f'{path}/{key}' if path else key)


def _entry(value: Any, shard_count: int) -> ArrayEntry:
    info, slices, shards = listed(payload(value, INDEX_INFO), 3)
    info = nested(info)
    if len(info) < 2:
        raise FormatError(f'expected shape and type, got {len(info)} entries')
    shape, dtype = shape_of(info[0]), dtype_of(info[1])
    slices = listed(slices)
    shards = listed(shards, len(slices))
    wrong = [n for n in shards if type(n) is not int or not 0 <= n < shard_count]
    if wrong:
        raise FormatError(
            f'expected the number of one of the {shard_count} shards, got {wrong[0]!r}'
        )
    parts = tuple(
        (bounds_of(nested(packed), shape), shard)
        for packed, shard in zip(slices, shards, strict=True)
    )
    check_parts([bounds for bounds, _ in parts], shape)
    return ArrayEntry(shape, dtype, parts)


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = ', '.join(map(repr, list(value)[:4]))
        return f'a map with {keys}' if value else 'an empty map'
    return f'a {type(value).__name__}'
