"""Reading and writing checkpoints as data, never as programs."""

import os
import pickle
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

ATOMIC_BACKEND = 'ride_mm_atomic'
TEMPORARY_SUFFIX = '.ride_mm-tmp'
PLAIN = (type(None), bool, int, float, complex, str, bytes)
TORCH_DATA = (torch.dtype, torch.device, torch.Size)


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read or written as data."""


class DamagedCheckpointError(CheckpointError):
    """A file that is no complete checkpoint."""


class UnsafeCheckpointError(CheckpointError):
    """A file that asks for more than plain data. Nothing of it was executed."""


# Reading ------------------------------------------------------------------------------


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
        DamagedCheckpointError: If the file is truncated or no checkpoint at all.
        UnsafeCheckpointError: If its pickle asks for anything but plain data.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        found = 'a folder' if path.is_dir() else 'nothing'
        raise FileNotFoundError(f'{path}: expected a checkpoint file, got {found}')
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as err:
        raise _explain(path, err) from None


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
        return UnsafeCheckpointError(
            f'{path}: expected tensors, numbers, strings and lists only, got the '
            f'Python object {name}. Nothing of the file was executed. {hint}'
        )
    if isinstance(err, (torch.OutOfMemoryError, MemoryError, PermissionError)) or (
        'deserialize object on' in message
    ):
        return err
    reason = message.split('WeightsUnpickler error: ')[-1].strip().split('\n')[0]
    return DamagedCheckpointError(
        f'{path}: expected a complete file written by torch.save, got '
        f'{path.stat().st_size:,} bytes that cannot be read as one: the file is '
        f'truncated, damaged or no checkpoint ({type(err).__name__}: '
        f'{reason or "no further details"})'
    )


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Find the checkpoint from which a run in ``work_dir`` should go on.

    It is the one named in ``last_checkpoint``, looked up beside that file when the
    folder was moved since. A run killed after its very first checkpoint, before that
    file was written, goes on from the ``epoch_*.pth`` or ``iter_*.pth`` of most steps.

    Returns:
        The path, or None if there is no checkpoint.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        named = Path(pointer.read_text().strip())
        for candidate in (named, work_dir / named.name):
            if candidate.is_file():
                return str(candidate)
    steps = {
        int(match.group(1)): path
        for path in work_dir.glob('*.pth')
        if (match := re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', path.name))
    }
    return str(steps[max(steps)]) if steps else None


# MMEngine's ways to a checkpoint ------------------------------------------------------


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """MMEngine's way to a local file."""
    return load_checkpoint_file(filename, map_location)


def load_from_http(filename: str, map_location: Any = None) -> Any:
    """MMEngine's way to a file on the web: download it once, check it, read it.

    The first process of each node downloads into the cache of :mod:`torch.hub`. A name
    such as ``resnet50-0676ba61.pth`` carries the start of the file's SHA-256, which
    then has to agree.
    """
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    path = folder / filename.split('?')[0].rstrip('/').rsplit('/', 1)[-1]
    try:
        if os.environ.get('LOCAL_RANK', '0') == '0':
            _download(filename, path)
    finally:
        # Also after a failure: the other processes then try, and fail, themselves.
        barrier()
    _download(filename, path)
    return load_checkpoint_file(path, map_location)


def _download(url: str, path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # It downloads to a temporary file, compares the hash and moves the file here.
    torch.hub.download_url_to_file(
        url, str(path), hash_prefix=_hash_in_name(path.name), progress=False
    )


def _hash_in_name(name: str) -> str | None:
    """The start of a SHA-256 in a file's name, if it carries one."""
    match = re.search(r'-([0-9a-f]{8,64})\.\w+$', name)
    if match is None or _is_date(match.group(1)):
        return None
    return match.group(1)


def _is_date(digits: str) -> bool:
    try:
        return datetime.strptime(digits, '%Y%m%d').year > 2000
    except ValueError:
        return False


def load_from_refused(filename: str, map_location: Any = None) -> Any:
    """MMEngine's other ways, which would unpickle without a check."""
    raise CheckpointError(
        f'{filename}: expected a local path or an http(s) address, got the scheme '
        f'{filename.split(":")[0]!r}, which is read without a check of its content; '
        'download the file and give its path, or give its https address'
    )


def register_loaders() -> None:
    """Make the loaders above MMEngine's only ones."""
    CheckpointLoader.register_scheme(
        list(CheckpointLoader._schemes), load_from_refused, force=True
    )
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(
        ['http://', 'https://'], load_from_http, force=True
    )


# Plain data ---------------------------------------------------------------------------


def plain_data(obj: Any, where: str = 'checkpoint') -> Any:
    """Turn an object into tensors, numbers, strings and containers of these.

    NumPy arrays become tensors and NumPy scalars numbers, a deque becomes a list, and
    subclasses of dictionaries, lists and tuples become the plain ones; an OrderedDict
    (a state dict) and a Counter (the milestones of a schedule) remain what they are.

    Args:
        obj: What to convert. Tensors are passed on, not copied.
        where: How to call ``obj`` in an error.

    Raises:
        CheckpointError: For any other object, with the keys that lead to it.
    """
    if isinstance(obj, TORCH_DATA) or type(obj) in PLAIN:
        return obj
    if isinstance(obj, torch.nn.Parameter) or type(obj) is torch.Tensor:
        return obj.detach()
    if isinstance(obj, np.generic) and obj.dtype.kind in 'biufcSU':
        return obj.item()
    if isinstance(obj, np.ndarray) and obj.dtype.kind in 'biufc':
        return torch.from_numpy(np.ascontiguousarray(obj))
    if isinstance(obj, np.ndarray):
        return plain_data(obj.tolist(), where)
    if isinstance(obj, dict):
        return _plain_dict(obj, where)
    for kind, converted in (
        (tuple, tuple),
        ((list, deque), list),
        ((set, frozenset), set),
    ):
        if isinstance(obj, kind):
            return converted(
                plain_data(value, f'{where}[{i}]') for i, value in enumerate(obj)
            )
    for kind in PLAIN[1:]:
        if isinstance(obj, kind):
            return kind(obj)
    raise CheckpointError(
        f'{where}: expected tensors, numbers, strings and containers of these, got '
        f'{type(obj).__module__}.{type(obj).__qualname__}'
    )


def _plain_dict(obj: dict, where: str) -> dict:
    kind = type(obj) if type(obj) in (OrderedDict, Counter) else dict
    plain = kind()
    for key, value in obj.items():
        plain[plain_data(key, f'key of {where}')] = plain_data(
            value, f'{where}[{key!r}]'
        )
    # Versions of the modules in a state dict, which old files need to be loaded right.
    if kind is OrderedDict and hasattr(obj, '_metadata'):
        plain._metadata = plain_data(obj._metadata, f'{where}._metadata')
    return plain


def to_plain(state: dict) -> dict:
    """Turn the state of MMEngine's MessageHub into plain data.

    Args:
        state: What ``MessageHub.state_dict()`` returns.

    Returns:
        The same with each history of a logged scalar as two tensors, (T,).
    """
    histories = {}
    for name, buffer in state['log_scalars'].items():
        values, counts = buffer.data
        histories[name] = {
            'values': torch.from_numpy(np.array(values)),
            'counts': torch.from_numpy(np.array(counts)),
            'max_length': int(buffer.max_length),
        }
    return {
        'log_scalars': histories,
        'runtime_info': plain_data(
            state['runtime_info'], "message_hub['runtime_info']"
        ),
        'resumed_keys': plain_data(
            state['resumed_keys'], "message_hub['resumed_keys']"
        ),
    }


def from_plain(state: dict) -> dict:
    """Undo :func:`to_plain`, for ``MessageHub.load_state_dict``."""
    buffers = OrderedDict()
    for name, history in state['log_scalars'].items():
        buffers[name] = HistoryBuffer(
            history['values'].cpu().numpy(),
            history['counts'].cpu().numpy(),
            max_length=history['max_length'],
        )
    return {**state, 'log_scalars': buffers}


# Writing ------------------------------------------------------------------------------


def write_atomically(content: Any, path: str | Path) -> None:
    """Write a file such that it is there completely or not at all, at any moment.

    Args:
        content: Bytes, a string, or else an object for :func:`torch.save`, which has to
            be plain data.
        path: Where to. A file there is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}')
    with open(temporary, 'wb') as file:
        if isinstance(content, str):
            file.write(content.encode())
        elif isinstance(content, (bytes, memoryview)):
            file.write(content)
        else:
            torch.save(plain_data(content), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a loss of power."""
    if os.name == 'nt':  # Windows opens no folders.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporary_files(folder: str | Path) -> list[str]:
    """Remove what a killed :func:`write_atomically` left, and return the names."""
    leftovers = sorted(Path(folder).glob(f'.*{TEMPORARY_SUFFIX}'))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return [path.name for path in leftovers]


class AtomicBackend(LocalBackend):
    """MMEngine's local files, written by :func:`write_atomically`."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write ``obj`` to ``filepath``."""
        write_atomically(obj, filepath)


register_backend(ATOMIC_BACKEND, AtomicBackend, force=True)
register_loaders()
