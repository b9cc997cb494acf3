"""Read the pickles of CIFAR without running anything they say.

A pickle is a program. This reader knows the few calls by which NumPy's arrays, numbers
and Python 2's bytes are written, replaces each by a function of its own that builds
plain data only, and refuses every other name. NumPy's own unpickling is not used
either: it trusts the sizes and types in the file.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from ..utils.pickle_call import PickleCall


class _Dtype:
    """Stands in for ``numpy.dtype``; numbers and booleans only."""

    __slots__ = ('numpy',)

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        if not isinstance(code, str) or code not in _NUMBERS:
            raise pickle.UnpicklingError(f'dtype {code!r} is not a number')
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ('<', '>'):
            self.numpy = self.numpy.newbyteorder(state[1])


class _Array:
    """Stands in for ``numpy.ndarray``; filled by the state that follows it."""

    __slots__ = ('numpy',)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        if isinstance(data, str):  # Bytes of Python 2, read as latin1.
            data = data.encode('latin1')
        self.numpy = _from_bytes(data, dtype, shape, 'F' if fortran else 'C')


def _from_bytes(data: bytes, dtype: _Dtype, shape: tuple, order: str) -> np.ndarray:
    # A copy, since an array on top of bytes cannot be written to.
    return np.frombuffer(data, dtype.numpy).reshape(shape, order=order).copy()


def _from_buffer(data: bytes, dtype: _Dtype, shape: tuple, order: str) -> _Array:
    array = _Array()
    array.numpy = _from_bytes(data, dtype, shape, order)
    return array


def _scalar(dtype: _Dtype, data: bytes | str) -> int | float | bool:
    if isinstance(data, str):
        data = data.encode('latin1')
    return np.frombuffer(data, dtype.numpy, count=1)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'encoding {encoding!r} is not latin1')
    return text.encode('latin1')


def _empty_bytes() -> bytes:
    return b''


_NUMBERS = {'b1', *(k + s for k in 'iu' for s in '1248'), 'f2', 'f4', 'f8'}
_CALLS: dict[tuple[str, str], Callable] = {
    ('numpy', 'dtype'): _Dtype,
    ('numpy', 'ndarray'): _Array,
    ('_codecs', 'encode'): _encode,
    ('builtins', 'bytes'): _empty_bytes,
    ('__builtin__', 'bytes'): _empty_bytes,
}
for _core in ('numpy.core', 'numpy._core'):  # NumPy 1 and 2.
    _CALLS[f'{_core}.multiarray', '_reconstruct'] = lambda *args: _Array()
    _CALLS[f'{_core}.multiarray', 'scalar'] = _scalar
    _CALLS[f'{_core}.numeric', '_frombuffer'] = _from_buffer


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> PickleCall:
        if (module, name) not in _CALLS:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}')
        return PickleCall(_CALLS[module, name])


def load_plain(data: bytes, name: str) -> dict[str, Any]:
    """Read a pickled dictionary of arrays, numbers, texts and lists.

    Args:
        data: Content of the file.
        name: Name of the file, for errors.

    Returns:
        The dictionary; its keys are texts, its arrays are numpy arrays.

    Raises:
        ValueError: If the file is cut off or damaged, asks for anything else than the
            above, or holds no dictionary.
    """
    try:
        entry = _PlainUnpickler(io.BytesIO(data), encoding='latin1').load()
        if isinstance(entry, dict):
            return {_text(key): _plain(value) for key, value in entry.items()}
    except pickle.UnpicklingError as err:
        raise ValueError(f'{name}: refused, or not a complete pickle: {err}') from err
    except Exception as err:
        # A damaged pickle fails in any way; nothing it could have called acts.
        raise ValueError(
            f'{name}: truncated or damaged pickle: {type(err).__name__}: {err}'
        ) from err
    raise ValueError(f'{name}: expected a dict, got {type(entry).__name__}')


def _text(key: Any) -> str:
    return key.decode('latin1') if isinstance(key, bytes) else str(key)


def _plain(value: Any) -> Any:
    return value.numpy if isinstance(value, _Array) else value
