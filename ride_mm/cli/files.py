"""Files that programs read and write: looked at before anything is computed."""

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.checkpoint_io import write_atomically
from .errors import UsageError

#: Suffixes of weights and of programs, which no table or figure may replace.
PRECIOUS = ('.pth', '.pt', '.py')


def check_outputs(
    files: Mapping[str, str | None],
    folders: Mapping[str, str | None] | None = None,
    inputs: Sequence[str | None] = (),
) -> None:
    """Refuse places that cannot be written to, before anything is computed.

    Args:
        files: Files to write by option, None where not asked for.
        folders: Where several files go, by option, None where not asked for.
        inputs: Files that are read, which nothing may replace: images, a checkpoint, a
            config; None where there is none.

    Raises:
        UsageError: If a place is a folder instead of a file or the other way round, is
            named twice, has an input, weights or a program, or cannot be written to.
    """
    given = {option: path for option, path in files.items() if path is not None}
    taken = {os.path.realpath(path): path for path in inputs if path is not None}
    for option, path in given.items():
        if not path:
            raise UsageError(f"{option}: expected a file's name, got ''")
        real = os.path.realpath(path)
        if real in taken:
            raise UsageError(
                f'{option}: expected a file of its own, got {path} of {taken[real]}'
            )
        taken[real] = option
        if os.path.isdir(path):
            raise UsageError(f'{option}: expected a file, got the folder {path}')
        if path.endswith(PRECIOUS) and os.path.lexists(path):
            raise UsageError(
                f'{option}: expected a file that may be replaced, got {path}, which is '
                'there'
            )
        _check_writable(option, Path(path).parent)
    for option, folder in (folders or {}).items():
        if folder is not None:
            _check_folder(option, folder, taken)


def _check_folder(option: str, folder: str, taken: Mapping[str, str]) -> None:
    if not folder:
        raise UsageError(f"{option}: expected a folder's name, got ''")
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise UsageError(f'{option}: expected a folder, got the file {folder}')
    _check_writable(option, Path(folder))
    inside = os.path.join(os.path.realpath(folder), '')
    for real, path in taken.items():
        if real.startswith(inside):
            raise UsageError(
                f'{option}: expected a folder of its own, got {folder}, in which '
                f'{path} is'
            )


def _check_writable(option: str, folder: Path) -> None:
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as err:
        raise UsageError(
            f'{option}: expected a place to write to, got {folder}: {err.strerror}'
        ) from None


def existing_file(path: str, what: str) -> str:
    """Check that a file exists; addresses on the web are passed on.

    Raises:
        UsageError: If there is no such file.
    """
    if '://' not in path and not Path(path).expanduser().is_file():
        found = 'a folder' if Path(path).expanduser().is_dir() else 'no such file'
        raise UsageError(f'expected {what}, got {path}: {found}')
    return path


def local_file(path: str) -> Path:
    """Path of a checkpoint on this machine.

    Raises:
        UsageError: If there is no such file, or it is an address on the web.
    """
    if '://' in path:
        raise UsageError(f'{path}: expected a local file, got an address; download it')
    return Path(existing_file(path, 'a checkpoint')).expanduser()


def write_json(content: Any, path: str | Path | None) -> None:
    """Write content as JSON, in which a number that is not finite is ``null``.

    Args:
        content: Dictionaries, lists, strings and numbers, arrays and tensors, too.
        path: Where to, or None to write nothing.

    Raises:
        OSError: If it cannot be written; nothing is left of it.
        TypeError: If something else is in the content.
    """
    if path is not None:
        text = json.dumps(_plain(content), indent=2, allow_nan=False)
        write_atomically(f'{text}\n', path)


def read_json(path: Path) -> dict:
    """Read what :func:`write_json` wrote; what is absent or no JSON is empty."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError):
        return {}


def _plain(content: Any) -> Any:
    """Content without arrays, tensors and numbers that are not finite."""
    if isinstance(content, (np.generic, np.ndarray, torch.Tensor)):
        return _plain(content.tolist())
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    return content
