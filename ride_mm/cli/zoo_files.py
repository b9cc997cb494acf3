"""The checkpoints of a folder, and the config of each."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..apis.trained_model import dataset_of
from ..engine.checkpoint_io import latest_checkpoint
from ..utils import resource_root
from .configs.stored_config import config_from, name_in, settings_in
from .errors import UsageError

STEP = r'(?:epoch|iter)_(\d+)\.pth'
# A test's own config in a work directory is called by the time.
OF_A_TEST = r'\d{8}_\d{6}'


@dataclass(frozen=True)
class FoundConfig:
    """A checkpoint's config.

    Attributes:
        config: Its path, or itself if it is no file.
        name: Of the model, such as ``'ride_r32_cifar100lt'``.
        source: How it was found.
    """

    config: Path | Config
    name: str
    source: str


def find_checkpoints(folder: Path, every: bool, only: str | None = None) -> list[Path]:
    """Find the checkpoints in a folder and below it.

    Args:
        folder: Where to search.
        every: Take every epoch of a training, not only that from which it would go on:
            the one in ``last_checkpoint``, else the last.
        only: A pattern for the path below ``folder`` or the file's name.

    Returns:
        Their paths, sorted; hidden files, and so unfinished ones, are passed over.

    Raises:
        UsageError: If there are none.
    """
    by_folder = defaultdict(list)
    for path in sorted(folder.rglob('*.pth')):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith('.') for part in parts):
            by_folder[path.parent].append(path)
    found = []
    for place, paths in by_folder.items():
        found += paths if every else _without_earlier_steps(place, paths)
    if only is not None:
        found = [
            path
            for path in found
            if fnmatch(str(path.relative_to(folder)), only) or fnmatch(path.name, only)
        ]
    if not found:
        what = '*.pth' if only is None else f'*.pth that match {only!r}'
        raise UsageError(f'{folder}: expected a folder with {what}, got none in it')
    return sorted(found)


def _without_earlier_steps(folder: Path, paths: list[Path]) -> list[Path]:
    steps = [path for path in paths if re.fullmatch(STEP, path.name)]
    if not steps:
        return paths
    # The folder may have been copied: what counts is the name.
    latest = folder / Path(latest_checkpoint(folder)).name
    if latest not in steps:
        latest = max(steps, key=lambda p: int(re.fullmatch(STEP, p.name)[1]))
    return [path for path in paths if path not in steps or path == latest]


def config_of(checkpoint: Path, content: Any) -> FoundConfig:
    """Find the config of a checkpoint.

    It is the ``.py`` of the same name beside it, or the only config there, as a
    training leaves one; else the text in the checkpoint itself, read as data; else the
    shipped config whose name the file's name begins with.

    Args:
        checkpoint: Its path.
        content: What it holds.

    Raises:
        UsageError: If there is none.
        ValueError: If the text in the checkpoint cannot be used and nothing else is
            there.
    """
    shipped = shipped_name(checkpoint.stem)
    beside = _beside(checkpoint)
    if beside is not None:
        name = beside.stem
        if name not in shipped_configs():
            name = shipped or shipped_name(name) or name
        return FoundConfig(beside, name, 'file')
    meta = content.get('meta') if isinstance(content, Mapping) else None
    meta = meta if isinstance(meta, Mapping) else {}
    fault = None
    if isinstance(meta.get('cfg'), str) and meta['cfg'].strip():
        try:
            settings = settings_in(meta['cfg'])
        except ValueError as err:
            fault = err
        else:
            name = name_in(meta) or shipped or checkpoint.stem
            return FoundConfig(config_from(settings), name, 'checkpoint')
    if shipped is not None:
        return FoundConfig(shipped_configs()[shipped], shipped, 'shipped')
    if fault is not None:
        raise fault
    raise UsageError(
        f'expected a config: {checkpoint.stem}.py or a single .py beside it, the '
        "config's text in it, or the name of a shipped config at the beginning of its "
        'name; got none'
    )


def _beside(checkpoint: Path) -> Path | None:
    own = checkpoint.with_suffix('.py')
    if own.is_file():
        return own
    configs = sorted(checkpoint.parent.glob('*.py'))
    trained = [path for path in configs if not re.fullmatch(OF_A_TEST, path.stem)]
    for found in (trained, configs):
        if found:
            return found[0] if len(found) == 1 else None
    return None


def shipped_configs() -> dict[str, Path]:
    """Paths of the shipped configs by their names, the longest first."""
    configs = (resource_root() / 'configs').rglob('*.py')
    named = {path.stem: path for path in configs if '_base_' not in path.parts}
    return dict(sorted(named.items(), key=lambda item: len(item[0]), reverse=True))


def shipped_name(stem: str) -> str | None:
    """The longest name of a shipped config that a file's name begins with."""
    for name in shipped_configs():
        if re.match(rf'{re.escape(name)}(?![a-z0-9])', stem):
            return name
    return None


def same_task(cfg: Config, name: str) -> bool:
    """Whether a config tests what the shipped one of that name does.

    The metafile's figures are of the shipped config: its data set, its classes and its
    number of experts. A run may have any name.
    """
    path = shipped_configs().get(name)
    return path is not None and task_of(cfg) == task_of(Config.fromfile(path))


def task_of(cfg: Config) -> tuple:
    """Data set, split, list, classes and experts of a test."""
    dataset, model = dataset_of(cfg), cfg.get('model') or {}
    head = model.get('head') or {}
    return (
        dataset.get('type'),
        dataset.get('split'),
        Path(dataset.get('ann_file') or '').name,
        head.get('num_classes'),
        # As RIDEClassifier does, if the config does not say.
        model.get('num_experts', 3 if model.get('type') == 'RIDEClassifier' else 1),
    )
