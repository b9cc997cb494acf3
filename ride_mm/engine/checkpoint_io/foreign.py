"""Read the weights out of a checkpoint that holds objects of a foreign package.

Code of research saves its own objects beside the weights, such as the options of the
run. :func:`load_checkpoint_file` refuses such a file; here its weights are read and the
rest stays closed.
"""

import io
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .errors import CheckpointError
from .inert_pickle import InertUnpickler, StorageNote, TensorNote
from .reading import damaged, existing_checkpoint

ZIP_START = b'PK\x03\x04'
# First of the pickles in a file of torch before 1.6.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class ForeignCheckpoint:
    """What is taken from a foreign checkpoint.

    Attributes:
        state_dict: Tensors by name, on the CPU.
        arch: What the file calls its network, if it does.
        epoch: The epoch that it was saved in, if it says so.
    """

    state_dict: dict[str, Tensor]
    arch: str | None = None
    epoch: int | None = None


def load_foreign_checkpoint(path: str | Path) -> ForeignCheckpoint:
    """Read the weights of a file written by ``torch.save``, and execute nothing.

    Objects of classes and functions other than tensors, wherever they are in the file,
    are never made: no name in it is looked up, no module imported. What is not weights
    is not even read, an optimizer's state for instance.

    Args:
        path: A local file, ``~`` allowed; of torch's present format or of that before
            1.6. It holds tensors by name, or a dictionary with them as ``state_dict``.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedCheckpointError: If the file is truncated or no checkpoint at all.
        CheckpointError: If it holds no tensors by name.
    """
    path = existing_checkpoint(path)
    try:
        with open(path, 'rb') as file:
            is_zip = file.read(len(ZIP_START)) == ZIP_START
            file.seek(0)
            content, read = (_open_zip if is_zip else _open_legacy)(file)
            notes = _notes(content, path)
            return ForeignCheckpoint(
                _tensors(notes, read), *_facts(content, arch=str, epoch=int)
            )
    except (CheckpointError, MemoryError, PermissionError):
        raise
    except Exception as err:
        # A damaged pickle fails in any way; nothing it could have called acts.
        raise damaged(path, err) from None


def _open_zip(file: BinaryIO) -> tuple[Any, Callable[[StorageNote], bytes]]:
    """Read the pickle of the present format; a function reads the storages."""
    archive = zipfile.ZipFile(file)
    pickles = [name for name in archive.namelist() if name.endswith('/data.pkl')]
    if len(pickles) != 1:
        raise ValueError(f'a zip file with {len(pickles)} pickles named data.pkl')
    folder = pickles[0].removesuffix('data.pkl')
    if f'{folder}byteorder' in archive.namelist():
        _check_byte_order(archive.read(f'{folder}byteorder') == b'little')
    content = InertUnpickler(io.BytesIO(archive.read(pickles[0]))).load()

    def read(storage: StorageNote) -> bytes:
        return archive.read(f'{folder}data/{storage.key}')

    return content, read


def _open_legacy(file: BinaryIO) -> tuple[Any, Callable[[StorageNote], bytes]]:
    """The same for the format of torch before 1.6: pickles, then the storages."""
    if InertUnpickler(file).load() != LEGACY_MAGIC:
        raise ValueError("a pickle that is not torch's")
    InertUnpickler(file).load()  # The format's version, which has never changed.
    _check_byte_order(InertUnpickler(file).load().get('little_endian', True))
    unpickler = InertUnpickler(file)
    content = unpickler.load()
    starts = {}
    for key in InertUnpickler(file).load():
        note = unpickler.storages[key]
        (numel,) = struct.unpack('<q', file.read(8))
        if numel != note.numel:
            raise ValueError(f'storage {key!r} of {numel}, expected {note.numel}')
        starts[key] = file.tell()
        file.seek(note.numel * note.dtype.itemsize, io.SEEK_CUR)

    def read(storage: StorageNote) -> bytes:
        file.seek(starts[storage.key])
        return file.read(storage.numel * storage.dtype.itemsize)

    return content, read


def _check_byte_order(little: bool) -> None:
    if little != (sys.byteorder == 'little'):
        raise ValueError('numbers in the byte order of another kind of machine')


def _notes(content: Any, path: Path) -> dict[str, TensorNote]:
    """The state dict in a file's content, its tensors not yet read."""
    notes = content.get('state_dict', content) if isinstance(content, dict) else content
    if not isinstance(notes, dict) or not notes:
        raise CheckpointError(
            f'{path}: expected tensors by name, or a dictionary with them as '
            f"'state_dict', got {'an empty one' if notes == {} else _kind(notes)}"
        )
    for name, note in notes.items():
        if not isinstance(name, str) or not isinstance(note, TensorNote):
            raise CheckpointError(
                f'{path}: expected tensors by name, or a dictionary with them as '
                f"'state_dict', got {_kind(note)} named {name!r}"
            )
    return notes


def _kind(value: Any) -> str:
    plain = (dict, list, tuple, str, bytes, int, float, type(None))
    return type(value).__name__ if isinstance(value, plain) else 'another object'


def _tensors(
    notes: dict[str, TensorNote], read: Callable[[StorageNote], bytes]
) -> dict[str, Tensor]:
    """Read the numbers; tensors that share a storage share it here, too."""
    storages: dict[str, Tensor] = {}
    tensors = {}
    for name, note in notes.items():
        storage = note.storage
        if storage.key not in storages:
            storages[storage.key] = _storage(storage, read(storage))
        # Refuses what reaches beyond the storage.
        tensors[name] = storages[storage.key].as_strided(
            note.size, note.stride, note.offset
        )
    return tensors


def _storage(note: StorageNote, data: bytes) -> Tensor:
    expected = note.numel * note.dtype.itemsize
    if len(data) != expected:
        raise EOFError(f'storage of {len(data):,} bytes, expected {expected:,}')
    if not data:
        return torch.empty(0, dtype=note.dtype)
    return torch.frombuffer(bytearray(data), dtype=note.dtype)


def _facts(content: Any, **kinds: type) -> list[Any]:
    """Values in a file's content that are plainly of these kinds; None for others."""
    known = content if isinstance(content, dict) and 'state_dict' in content else {}
    values = {name: known.get(name) for name in kinds}
    return [v if type(v) is kinds[name] else None for name, v in values.items()]
