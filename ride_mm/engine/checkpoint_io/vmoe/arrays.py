"""The numbers of a V-MoE checkpoint, put together from all its shards."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .files import check_shards
from .index import ArrayEntry, VMoEIndex, read_vmoe_index
from .messages import (
    DTYPES,
    SLICE_ND,
    FormatError,
    UnknownDtypeError,
    listed,
    numbers_of,
    of_file,
    payload,
    unpacker,
)
from .parts import Bounds, bounds_of, check_apart, part_size

# What marks a file of parts of arrays.
MARK = '__msgpack_array_chunk_a87ca2__'


def load_vmoe_checkpoint(prefix: str | Path) -> dict[str, np.ndarray]:
    """Read a checkpoint of V-MoE's JAX code, and execute nothing.

    Args:
        prefix: Path of ``PREFIX.index`` and ``PREFIX.data-*`` without what differs,
            ``~`` allowed; the path of one of the files will do.

    Returns:
        Arrays by name, such as ``'Encoder/encoderblock_1/Moe/Mlp/Dense_0/kernel'``;
        those of bfloat16 as float32, of the same values.

    Raises:
        FileNotFoundError: If the index or a shard is missing.
        DamagedCheckpointError: If a file is truncated, damaged or of another
            checkpoint.
        CheckpointError: If it has numbers of an unknown type, or msgpack is not
            installed.
    """
    return read_vmoe_arrays(read_vmoe_index(prefix))


def read_vmoe_arrays(
    index: VMoEIndex, names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Read the arrays that an index names.

    One array of one shard is held in memory beside the result.

    Args:
        index: Of :func:`read_vmoe_index`.
        names: Those to read; all by default.

    Returns:
        As :func:`load_vmoe_checkpoint`.

    Raises:
        FileNotFoundError: If a shard is missing.
        DamagedCheckpointError: If one is truncated, damaged or of another checkpoint.
        CheckpointError: If it has numbers of an unknown type.
    """
    wanted = None if names is None else set(names)
    check_shards(index.prefix, [index.bytes_in(i) for i in range(index.shard_count)])
    arrays = {
        name: np.empty(
            entry.shape, 'f4' if entry.dtype == 'bfloat16' else DTYPES[entry.dtype]
        )
        for name, entry in index.arrays.items()
        if wanted is None or name in wanted
    }
    done: dict[str, list[Bounds]] = {name: [] for name in arrays}
    for number in range(index.shard_count):
        path = index.shard(number)
        with of_file(path):
            _read_shard(path, number, index, arrays, done)
    return arrays


def _read_shard(
    path: Path,
    number: int,
    index: VMoEIndex,
    arrays: dict[str, np.ndarray],
    done: dict[str, list[Bounds]],
) -> None:
    """Put the parts that a shard has into their arrays; ``done`` learns of them."""
    names = list(index.arrays)
    found = set()
    for key, parts in _entries(path):
        if not key.isascii() or not key.isdigit() or int(key) >= len(names):
            raise FormatError(
                f'expected the numbers of {len(names)} arrays, got {key!r}'
            )
        name = names[int(key)]
        if name in found:
            raise FormatError(f'{name}: expected its parts once, got them twice')
        found.add(name)
        if name not in arrays:
            continue
        entry = index.arrays[name]
        try:
            bounds = [_read_part(part, entry, arrays[name]) for part in listed(parts)]
            check_apart(done[name] + bounds)
            _check_size(sum(map(part_size, bounds)), entry.size_in(number))
        except FormatError as err:
            kind = type(err)
            kind = kind if kind is UnknownDtypeError else FormatError
            raise kind(f'{name}: {err}') from None
        done[name] += bounds
    for name, entry in index.arrays.items():
        if name not in found and entry.size_in(number):
            raise FormatError(f'{name}: expected it in this shard, got no such array')


def _check_size(size: int, expected: int) -> None:
    if size != expected:
        raise FormatError(
            f'expected {expected:,} numbers of it in this shard, as the index says, '
            f'got {size:,}'
        )


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Key and parts of each array in a shard, one after the other."""
    with open(path, 'rb') as file:
        reader = unpacker(file)
        marked = False
        for _ in range(reader.read_map_header()):
            key, value = reader.unpack(), reader.unpack()
            if not isinstance(key, str):
                raise FormatError(f'expected strings as keys, got {key!r}')
            if key == MARK:
                marked = True
            else:
                yield key, value
        if not marked:
            raise FormatError(f'expected a shard, marked by {MARK}, got a file without')
        size = path.stat().st_size
        if reader.tell() != size:
            raise FormatError(
                f'expected a file of {reader.tell():,} bytes, got {size:,}'
            )


def _read_part(part: Any, entry: ArrayEntry, array: np.ndarray) -> Bounds:
    """Write a stored part into its array, and return where it lies there."""
    pieces, packed = listed(part, 2)
    bounds = bounds_of(payload(packed, SLICE_ND), entry.shape)
    flat = []
    for piece in listed(pieces):
        numbers, dtype = numbers_of(piece)
        if dtype != entry.dtype:
            raise FormatError(f'expected {entry.dtype}, as the index says, got {dtype}')
        flat.append(numbers)
    count = sum(map(len, flat))
    if count != part_size(bounds):
        raise FormatError(
            f'expected {part_size(bounds):,} numbers for the part {bounds}, got '
            f'{count:,}'
        )
    if not count:
        return bounds
    numbers = np.concatenate(flat) if len(flat) > 1 else flat[0]
    if entry.dtype == 'bfloat16':
        numbers = (numbers.astype('<u4') << 16).view('<f4')
    shape = [stop - start for start, stop in bounds]
    array[tuple(slice(*b) for b in bounds)] = numbers.reshape(shape)
    return bounds
