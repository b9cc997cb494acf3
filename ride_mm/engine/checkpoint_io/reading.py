"""Read checkpoints as data, never as programs."""

import mmap
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError, DamagedCheckpointError, UnsafeCheckpointError

#: Bytes that are read at once.
CHUNK = 2**20


def load_checkpoint_file(
    path: str | Path,
    map_location: str | torch.device | Callable | None = 'cpu',
) -> Any:
    """Read a checkpoint that holds tensors and plain data, and execute nothing.

    Args:
        path: A local file, ``~`` allowed.
        map_location: As for :func:`torch.load`.

    Returns:
        What the file holds, for our checkpoints a dictionary.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedCheckpointError: If the file is truncated, a checksum in it does not
            agree, or it is no checkpoint at all.
        UnsafeCheckpointError: If its pickle asks for anything but plain data.
    """
    path = existing_checkpoint(path)
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
        check_sums(path)
        return content
    except Exception as err:
        raise _explain(path, err) from None


def existing_checkpoint(path: str | Path) -> Path:
    """Check that a file exists, ``~`` allowed.

    Raises:
        FileNotFoundError: If it does not, or is a folder.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        found = 'a folder' if path.is_dir() else 'nothing'
        raise FileNotFoundError(f'{path}: expected a checkpoint file, got {found}')
    return path


def check_sums(path: Path) -> None:
    """Compare each part of a file with its checksum, which ``torch.load`` does not.

    Parts without one (:func:`torch.serialization.set_crc32_options`), and files of the
    format before torch 1.6, are passed over.

    Raises:
        zipfile.BadZipFile: If one does not agree.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.CRC:
                with archive.open(part) as stream:
                    while stream.read(CHUNK):
                        pass


def _explain(path: Path, err: Exception) -> Exception:
    """Put the ways in which :func:`torch.load` fails into words."""
    message = str(err)
    refused = re.search(r'GLOBAL (\S+)|find class (\S+)', message)
    if isinstance(err, pickle.UnpicklingError) and refused is not None:
        name = refused.group(1) or refused.group(2)
        hint = (
            'Ask for (or save, where it was made) a file with the weights alone: '
            "torch.save({'state_dict': model.state_dict()}, path)"
        )
        if name.endswith('HistoryBuffer'):
            hint = (
                "It was written by MMEngine's CheckpointHook: train with "
                'SafeCheckpointHook instead, or save the file anew, where it was made, '
                "without its 'message_hub'"
            )
        elif _of_the_authors(path, name):
            hint = (
                "If it is of the code of RIDE's authors: python "
                f'tools/model_converters/official_to_ride_mm.py {path} TARGET.pth'
            )
        return UnsafeCheckpointError(
            f'{path}: expected tensors, numbers, strings and lists only, got the '
            f'Python object {name}. Nothing of the file was executed. {hint}'
        )
    if isinstance(err, (torch.OutOfMemoryError, MemoryError, PermissionError)) or (
        'deserialize object on' in message
    ):
        return err
    return damaged(path, err)


def _of_the_authors(path: Path, name: str) -> bool:
    """Whether a file names a class of the package that the authors' code saves."""
    if name.startswith('parse_config.'):
        return True
    # Torch names the first class that it refuses, which may be one of NumPy.
    with (
        open(path, 'rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content.find(b'cparse_config\n') >= 0


def damaged(path: Path, err: Exception) -> DamagedCheckpointError:
    """The error of a file that cannot be read as a checkpoint, because of another."""
    reason = str(err).split('WeightsUnpickler error: ')[-1].strip().split('\n')[0]
    return DamagedCheckpointError(
        f'{path}: expected a complete file written by torch.save, got '
        f'{path.stat().st_size:,} bytes that cannot be read as one: the file is '
        f'truncated, damaged or no checkpoint ({type(err).__name__}: '
        f'{reason or "no further details"})'
    )


def model_tensors(content: Any, path: str | Path) -> dict[str, Tensor]:
    """Tensors by name out of a checkpoint, or out of a state dict alone.

    Args:
        content: What a file holds.
        path: Of the file, for the error.

    Raises:
        CheckpointError: If there are none.
    """
    weights = content.get('state_dict', content) if isinstance(content, dict) else None
    entries = weights.items() if isinstance(weights, dict) else ()
    tensors = {name: value for name, value in entries if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            f'{path}: expected the tensors of a model, got a '
            f'{type(content).__name__} without'
        )
    return tensors


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Find the checkpoint from which a run in ``work_dir`` should go on.

    It is the one named in ``last_checkpoint``, looked up beside that file first, for
    the folder may have been moved or copied since. A run killed after its very first
    checkpoint, before that file was written, goes on from the ``epoch_*.pth`` or
    ``iter_*.pth`` of most steps.

    Returns:
        The path, or None if there is no checkpoint.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        named = Path(pointer.read_text().strip())
        for candidate in (work_dir / named.name, named):
            if candidate.is_file():
                return str(candidate)
    steps = {
        int(match.group(1)): path
        for path in work_dir.glob('*.pth')
        if (match := re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', path.name))
    }
    return str(steps[max(steps)]) if steps else None
