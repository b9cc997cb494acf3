"""Hook that notes what a training ran on, beside its checkpoints."""

import hashlib
import json
import platform
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...models.compiled import trains_compiled
from ...utils.machine import machine_name
from ..checkpoint_io import write_atomically
from .bare_model import bare_model
from .schedule_guard import subset_hash_of

FILE = 'run.json'
PACKAGES = ('torch', 'mmengine', 'mmpretrain', 'ride_mm')


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Writes ``run.json`` into the work directory: device, versions and data of a run.

    The file holds a list ``sessions``, one for each time the training was started or
    resumed, so that a result says what each part of it was made on. A session has:

    - ``epochs``: ``[first, last]``, counted from 0 and exclusive of the last: those it
      has completed so far;
    - ``started``, in UTC; ``kind`` (``cpu``, ``cuda``) and ``device``, the name of GPU
      or processor; ``processes``, ``threads``, ``precision`` and ``seed``; whether
      the backbone is ``compiled``; ``versions`` of Python and packages;
    - ``data`` for training and validation: number of images, ``subset`` (the hash of
      :class:`~ride_mm.datasets.LongTailed`, which says which images of the official
      files they are) and ``images``, the SHA-256 of their pixels, where the data set
      holds them in memory.
    """

    # After the checkpoint hook, so that only saved epochs are recorded, and after
    # CompileHook.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Begin a session."""
        self._write(runner, [*self._earlier(runner), describe_session(runner)])

    def after_train_epoch(self, runner: Runner) -> None:
        """Count the epoch, ``runner.epoch`` from 0, that is just done."""
        sessions = read_record(runner.work_dir)
        if sessions:
            sessions[-1]['epochs'][1] = runner.epoch + 1
        self._write(runner, sessions)

    def _earlier(self, runner: Runner) -> list[dict]:
        """Sessions that led to the state from which this one goes on."""
        start = runner.epoch
        sessions = read_record(runner.work_dir)
        if sessions and sessions[-1]['epochs'][1] == start - 1:
            # Killed between the checkpoint of that epoch and its record.
            sessions[-1]['epochs'][1] = start
        return [
            {**session, 'epochs': [first, min(last, start)]}
            for session in sessions
            for first, last in [session['epochs']]
            if first < min(last, start)
        ]

    @master_only
    def _write(self, runner: Runner, sessions: list[dict]) -> None:
        text = json.dumps({'sessions': sessions}, indent=2)
        write_atomically(f'{text}\n', Path(runner.work_dir) / FILE)


def read_record(work_dir: str | Path) -> list[dict]:
    """Read the sessions of a training, none where there is no record.

    Raises:
        ValueError: If the file is no such record.
    """
    path = Path(work_dir) / FILE
    if not path.is_file():
        return []
    try:
        sessions = json.loads(path.read_text())['sessions']
        for session in sessions:
            _first, _last = map(int, session['epochs'])
    except (ValueError, KeyError, TypeError) as err:
        raise ValueError(
            f'{path}: expected the record of a training with its sessions, got {err!r}'
        ) from None
    return sessions


def describe_session(runner: Runner) -> dict[str, Any]:
    """Describe on what a training goes on from here, as plain data."""
    device = next(runner.model.parameters()).device
    data = {'train': runner.train_dataloader.dataset}
    if runner.val_loop is not None:
        data['val'] = runner.val_dataloader.dataset
    return {
        'epochs': [runner.epoch, runner.epoch],
        'started': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'kind': device.type,
        'device': machine_name(device),
        'processes': runner.world_size,
        'threads': torch.get_num_threads(),
        'precision': precision_of(runner),
        'compiled': trains_compiled(bare_model(runner.model)),
        'seed': runner.seed,
        'versions': {'python': platform.python_version(), **package_versions()},
        'data': {name: describe_images(dataset) for name, dataset in data.items()},
    }


def precision_of(runner: Runner) -> str:
    """Number format of the forward pass, such as ``'float32'`` or ``'bfloat16'``."""
    kind = type(runner.optim_wrapper).__name__
    if kind == 'AutocastOptimWrapper':
        return 'bfloat16'
    if kind == 'AmpOptimWrapper':
        dtype = getattr(runner.optim_wrapper, 'cast_dtype', None) or 'float16'
        return str(dtype).removeprefix('torch.')
    return 'float32'


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of packages, by the name under which each is imported."""
    from ... import __version__

    versions = {}
    for name in names:
        module = import_module(name)
        versions[name] = str(getattr(module, '__version__', None) or _installed(name))
    return versions | {'ride_mm': __version__}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return 'unknown'


def describe_images(dataset: Any) -> dict[str, Any]:
    """Number of images, hash of the subset, hash of the pixels in memory."""
    subset = subset_hash_of(dataset)
    return {'number': len(dataset), 'subset': subset, 'images': hash_images(dataset)}


def hash_images(dataset: Any) -> str | None:
    """SHA-256 of the pixels and labels of a data set, in its order.

    Returns:
        64 hexadecimal digits, None for a data set whose records hold no pixels.
    """
    if not hasattr(dataset, 'get_data_info'):
        return None
    digest = hashlib.sha256()
    for i in range(len(dataset)):
        record = dataset.get_data_info(i)
        if not hasattr(record.get('img'), 'tobytes'):
            return None
        digest.update(record['img'].tobytes())
        digest.update(int(record['gt_label']).to_bytes(8, 'little', signed=True))
    return digest.hexdigest()
