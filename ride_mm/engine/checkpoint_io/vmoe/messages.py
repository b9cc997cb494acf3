"""msgpack as V-MoE's checkpoints use it: arrays, slices and facts about arrays."""

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import CheckpointError, DamagedCheckpointError

# Codes of the format's own types of values, as far as its checkpoints of parameters
# have them.
NDARRAY, SLICE_ND, INDEX_INFO = 1, 6, 8
# How numbers lie in the file, by the name of their type. NumPy has no bfloat16; it is
# the upper half of a float32.
DTYPES = {
    'bfloat16': '<u2',
    'bool': '?',
    **{f'float{8 * n}': f'<f{n}' for n in (2, 4, 8)},
    **{f'int{8 * n}': f'<i{n}' for n in (1, 2, 4, 8)},
    **{f'uint{8 * n}': f'<u{n}' for n in (1, 2, 4, 8)},
}
# Bounds on what a damaged header can ask for: entries of a list or map, bytes of one
# array.
MAX_ENTRIES, MAX_BYTES = 2**20, 2**32 - 1


class FormatError(ValueError):
    """A value that is not of the format, with expected and got."""


class UnknownDtypeError(FormatError):
    """Numbers of a type that cannot be read."""


@contextmanager
def of_file(path: Path) -> Iterator[None]:
    """Turn what reading a file can raise into errors that name it.

    Raises:
        DamagedCheckpointError: If it is not of the format.
        CheckpointError: If it has numbers of an unknown type.
    """
    msgpack = msgpack_package()
    try:
        yield
    except UnknownDtypeError as err:
        raise CheckpointError(f'{path}: {err}') from None
    except FormatError as err:
        raise DamagedCheckpointError(f'{path}: {err}') from None
    except msgpack.OutOfData:
        raise DamagedCheckpointError(
            f'{path}: expected a complete file, got {path.stat().st_size:,} bytes that '
            'end within a value: the file is truncated'
        ) from None
    except (TypeError, ValueError, msgpack.UnpackException) as err:
        # TypeError: keys of maps that are maps.
        raise DamagedCheckpointError(
            f'{path}: expected msgpack, got {path.stat().st_size:,} bytes that cannot '
            f'be read as such: the file is damaged or another kind of file '
            f'({type(err).__name__}: {err or "no further details"})'
        ) from None


def msgpack_package() -> ModuleType:
    """Import msgpack.

    Raises:
        CheckpointError: If it is not installed, with the command that does so.
    """
    try:
        return importlib.import_module('msgpack')
    except ImportError:
        raise CheckpointError(
            "checkpoints of V-MoE's JAX code: expected the package msgpack to read "
            'them with, got none; install it: pip install msgpack'
        ) from None


def unpacker(file: Any = None) -> Any:
    """A reader of messages, of a file or of what it is fed.

    Values of the format's own types come as msgpack's ``ExtType``.
    """
    return msgpack_package().Unpacker(
        file,
        strict_map_key=False,
        read_size=2**20,
        max_buffer_size=MAX_BYTES,
        max_array_len=MAX_ENTRIES,
        max_map_len=MAX_ENTRIES,
    )


def payload(value: Any, code: int) -> list:
    """Unpack a value of one of the format's own types.

    Raises:
        FormatError: If it is something else.
    """
    kind = msgpack_package().ExtType
    if not isinstance(value, kind) or value.code != code:
        got = f'type {value.code}' if isinstance(value, kind) else _kind(value)
        raise FormatError(f"expected a value of the format's type {code}, got {got}")
    return nested(value.data)


def nested(data: Any) -> list:
    """Unpack a list that is packed within a value.

    Raises:
        FormatError: If it is none.
    """
    if not isinstance(data, bytes):
        raise FormatError(f'expected a packed list, got {_kind(data)}')
    value = msgpack_package().unpackb(
        data, raw=True, strict_map_key=False, max_array_len=MAX_ENTRIES
    )
    return listed(value)


def listed(value: Any, entries: int | None = None) -> list:
    """Check that a value is a list, of so many entries if told so.

    Raises:
        FormatError: If it is none.
    """
    if not isinstance(value, (list, tuple)):
        raise FormatError(f'expected a list, got {_kind(value)}')
    if entries is not None and len(value) != entries:
        raise FormatError(f'expected a list of {entries} entries, got {len(value)}')
    return list(value)


def shape_of(value: Any) -> tuple[int, ...]:
    """Check the shape of an array.

    Raises:
        FormatError: If it is none.
    """
    shape = tuple(listed(value))
    if not all(type(n) is int and n >= 0 for n in shape):
        raise FormatError(f'expected a shape, got {shape}')
    return shape


def dtype_of(value: Any) -> str:
    """Check the name of a type of numbers.

    Raises:
        UnknownDtypeError: If it is not one of those that can be read.
    """
    name = value.decode(errors='replace') if isinstance(value, bytes) else value
    if not isinstance(name, str) or name not in DTYPES:
        raise UnknownDtypeError(
            f'expected numbers of one of the types {", ".join(DTYPES)}, got {name!r}'
        )
    return name


def numbers_of(value: Any) -> tuple[np.ndarray, str]:
    """The numbers of a packed array, as they lie in the file.

    Returns:
        A flat array, and the name of its type; those of bfloat16 are uint16.

    Raises:
        FormatError: If it is no array, or has not the bytes that belong to its shape.
    """
    shape, dtype, data = listed(payload(value, NDARRAY), 3)
    name, shape = dtype_of(dtype), shape_of(shape)
    if not isinstance(data, bytes):
        raise FormatError(f"expected an array's bytes, got {_kind(data)}")
    expected = math.prod(shape) * np.dtype(DTYPES[name]).itemsize
    if len(data) != expected:
        raise FormatError(
            f'expected {expected:,} bytes of an array of shape {shape}, {name}, got '
            f'{len(data):,}'
        )
    return np.frombuffer(data, DTYPES[name]), name


def _kind(value: Any) -> str:
    return f'{value!r:.50}' if value is None else f'a {type(value).__name__}'
