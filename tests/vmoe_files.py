"""Writes checkpoints in the format of V-MoE's JAX code, whole or broken."""

import math
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import msgpack
import numpy as np

MARK = '__msgpack_array_chunk_a87ca2__'
VERSION = '20220622'


def bfloat16(array: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers, as uint16."""
    return (np.ascontiguousarray(array, '<f4').view('<u4') >> 16).astype('<u2')


def write(
    prefix: Path,
    arrays: Mapping[str, np.ndarray],
    shards: int = 1,
    split: int = 1,
    piece: int = 10**6,
    dtypes: Mapping[str, str] | None = None,
    version: str | None = VERSION,
    edit: Callable[[dict, list[dict]], None] = lambda index, data: None,
) -> Path:
    """Write a checkpoint.

    Args:
        prefix: Of its files.
        arrays: By path of names.
        shards: Number of files that the parts go to in turn.
        split: Parts along each axis, where that divides it.
        piece: Numbers in each stored piece of a part.
        dtypes: Types to give in place of the arrays', by name.
        version: None for a file of before there were versions.
        edit: Changes index and shards before they are written.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    dtypes = dtypes or {}
    tree, data, turn = {}, [{MARK: True} for _ in range(shards)], 0
    for number, name in enumerate(sorted(arrays, key=lambda n: n.split('/'))):
        array = np.asarray(arrays[name])
        dtype = dtypes.get(name, array.dtype.name)
        axes = [
            range(0, n, max(1, n // split if n % split == 0 else n))
            for n in array.shape
        ]
        slices, places = [], []
        for corner in product(*axes):
            stop = [c + axis.step for c, axis in zip(corner, axes, strict=True)]
            bounds = list(zip(corner, stop, strict=True))
            part = array[tuple(slice(*b) for b in bounds)].reshape(-1)
            pieces = [
                ndarray(part[i : i + piece], dtype)
                for i in range(0, max(1, len(part)), piece)
            ]
            packed = [msgpack.packb([*b, None]) for b in bounds]
            entry = [pieces, msgpack.ExtType(6, msgpack.packb(packed))]
            data[turn].setdefault(str(number), []).append(entry)
            slices.append(msgpack.packb(packed))
            places.append(turn)
            turn = (turn + 1) % shards
        shape = msgpack.packb([array.shape, dtype, False, {}])
        info = msgpack.ExtType(8, msgpack.packb([shape, slices, places]))
        *folders, leaf = name.split('/')
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = info
    index = {'shard_count': shards, 'index': tree}
    if version is not None:
        index['version'] = version
    edit(index, data)
    Path(f'{prefix}.index').write_bytes(msgpack.packb(index))
    for number, content in enumerate(data):
        shard(prefix, number, shards).write_bytes(msgpack.packb(content))
    return prefix


def ndarray(array: np.ndarray, dtype: str) -> msgpack.ExtType:
    """An array as the format packs it."""
    content = [array.shape, dtype.encode(), array.tobytes()]
    assert math.prod(array.shape) == array.size
    return msgpack.ExtType(1, msgpack.packb(content))


def shard(prefix: Path, number: int, count: int) -> Path:
    """Path of a shard."""
    return Path(f'{prefix}.data-{number:05d}-of-{count:05d}')
