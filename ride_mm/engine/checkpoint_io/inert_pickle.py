"""Read the pickle inside a torch file without running anything it says.

A pickle is a program: it names functions and has them called. This reader looks no name
up and imports nothing. It knows the few names by which tensors are written and answers
each with a function of its own that takes notes only; any other name stands for
:class:`Inert`, to which a pickle can do whatever it likes without an effect.
"""

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from ...utils.pickle_call import PickleCall

# Classes of storages, by which torch writes the type of a tensor's elements.
DTYPES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
}


class _InertType(type):
    """Makes a class that is its own only instance and never changes."""

    def __call__(cls, *args: Any, **kwargs: Any) -> type:
        return cls

    def __setstate__(cls, state: Any) -> None:
        """Forget what an object of this kind would consist of."""

    def __setitem__(cls, key: Any, value: Any) -> None:
        pass

    def append(cls, value: Any) -> None:
        """Forget what an object that is a list would hold; so do the others."""

    extend = add = append


class Inert(metaclass=_InertType):
    """Stands for any class or function of a foreign package, and for what it returns.

    It is a class, because a pickle may make an object of any name that it looks up.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> type:
        """Return the class itself: there are no objects of it."""
        return cls


@dataclass(frozen=True)
class StorageNote:
    """Where a tensor's numbers lie: ``numel`` of them in the file's record ``key``."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class TensorNote:
    """A tensor whose numbers have not been read."""

    storage: StorageNote
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _StorageKind:
    dtype: torch.dtype


def _tensor(
    storage: StorageNote, offset: int, size: tuple, stride: tuple, *more: Any
) -> TensorNote:
    whole = (offset, *size, *stride)
    if not isinstance(storage, StorageNote) or any(type(n) is not int for n in whole):
        raise pickle.UnpicklingError('a tensor without storage or shape')
    return TensorNote(storage, offset, tuple(size), tuple(stride))


def _parameter(data: Any, *more: Any) -> Any:
    return data


_CALLS = {
    '_rebuild_tensor': _tensor,
    '_rebuild_tensor_v2': _tensor,
    '_rebuild_parameter': _parameter,
    '_rebuild_parameter_with_state': _parameter,
}


class InertUnpickler(pickle.Unpickler):
    """Reads tensors as notes, containers and numbers as they are, all else as inert.

    Args:
        file: The pickle.

    Attributes:
        storages: The storages that the pickle speaks of, by key.
    """

    def __init__(self, file: BinaryIO) -> None:
        # Strings of Python 2 may hold any bytes.
        super().__init__(file, encoding='latin1')
        self.storages: dict[str, StorageNote] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Answer a name; nothing is looked up."""
        if (module, name) == ('collections', 'OrderedDict'):
            return OrderedDict
        if module == 'torch._utils' and name in _CALLS:
            return PickleCall(_CALLS[name])
        if module in ('torch', 'torch.cuda') and name in DTYPES:
            return _StorageKind(DTYPES[name])
        return Inert

    def persistent_load(self, pid: Any) -> Any:
        """Take a note of what the file holds outside of the pickle."""
        if isinstance(pid, tuple) and pid[:1] == ('module',):
            return Inert  # A class with its source text, as torch before 1.6 wrote it.
        if not isinstance(pid, tuple) or pid[:1] != ('storage',) or len(pid) < 5:
            raise pickle.UnpicklingError('it refers to something that is no storage')
        _, kind, key, _, numel, *view = pid
        if view not in ([], [None]):
            raise pickle.UnpicklingError('a view of a storage, of torch before 0.4')
        if (
            not isinstance(kind, _StorageKind)
            or not isinstance(key, str)
            or type(numel) is not int
        ):
            raise pickle.UnpicklingError('a storage of unknown kind')
        note = StorageNote(key, kind.dtype, numel)
        if self.storages.setdefault(key, note) != note:
            raise pickle.UnpicklingError(f'storage {key!r} with two types or sizes')
        return note
