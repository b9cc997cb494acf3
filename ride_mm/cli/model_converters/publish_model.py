"""Make a checkpoint to hand on of one that a training wrote."""

import argparse
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...engine.checkpoint_io import (
    CheckpointError,
    load_checkpoint_file,
    plain_data,
    write_atomically,
)
from ...engine.hooks.fit_check import (
    first_of,
    named,
    not_finite,
    without_training_only,
)
from ..errors import UsageError
from ..files import local_file
from ..program import run_main, say
from .published_config import without_local_settings

# Of the notes that a run leaves, those that tell what the model is.
META = (
    'arch',
    'cfg',
    'converted_from',
    'dataset_meta',
    'epoch',
    'experiment_name',
    'iter',
    'mmengine_version',
    'ride_mm_version',
    'thresholds_set_on',
)
# Statistics and limits, whose range is not that of weights.
FULL_PRECISION = ('running_mean', 'running_var', 'threshold_logits')
# As many as the loader of ride_mm, and torch.hub, look for in a name.
HASH_DIGITS = 8


def publish_model_main(argv: Sequence[str] | None = None) -> Path:
    """Entry point of ``tools/model_converters/publish_model.py``."""
    return run_main(publish, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Strip a checkpoint of what only its training needs, its config of '
        'places on this machine but for those of the data, and add the '
        "start of the file's SHA-256 to its name, which ride_mm compares when it "
        'downloads the file.',
        allow_abbrev=False,
        prog='publish_model.py',
    )
    parser.add_argument('source', help='path of a checkpoint of ride_mm')
    parser.add_argument(
        'target',
        help='path FOLDER/NAME.pth, of which FOLDER/NAME-HASH.pth is made; or a '
        "folder, then NAME is the source's, for epoch_N.pth that of its folder",
    )
    parser.add_argument(
        '--dtype',
        choices=('float32', 'float16'),
        help='type of the weights (default: as they are). Statistics, thresholds and '
        'tensors with numbers beyond the range of float16 do not become float16',
    )
    parser.set_defaults(local_rank=0)
    return parser


def publish(args: argparse.Namespace) -> Path:
    """Publish as the options say.

    Returns:
        The path of the file written.

    Raises:
        UsageError: If they cannot be followed.
        CheckpointError: If the source holds no weights.
    """
    source = local_file(args.source)
    folder, name = target_of(source, args.target)
    content = published(load_checkpoint_file(source), source)
    if args.dtype is not None:
        dtype = getattr(torch, args.dtype)
        content['state_dict'] = {
            key: cast(key, tensor, dtype)
            for key, tensor in content['state_dict'].items()
        }
    data = to_bytes(content)
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f'{name}-{digest[:HASH_DIGITS]}.pth'
    write_atomically(data, path)
    kinds = sorted({str(t.dtype)[6:] for t in content['state_dict'].values()})
    say(
        f'{path}: {len(data):,} bytes (before: {source.stat().st_size:,}), '
        f'{len(content["state_dict"])} tensors of {", ".join(kinds)}'
    )
    return path


def target_of(source: Path, target: str) -> tuple[Path, str]:
    """Folder and name, without hash and ending, of the file to write.

    Raises:
        UsageError: If the target is neither a folder nor ends in ``.pth``.
    """
    path = Path(target).expanduser()
    if path.is_dir() or target.endswith('/') or path.suffix == '':
        folder, name = path, source.stem
        if re.fullmatch(r'(epoch|iter)_\d+', name):
            name = source.resolve().parent.name
    elif path.suffix == '.pth':
        folder, name = path.parent, path.stem
    else:
        raise UsageError(f'{target}: expected a folder or FILE.pth, got {path.name}')
    if folder.exists() and not folder.is_dir():
        raise UsageError(f'{target}: expected a folder, got the file {folder}')
    return folder, re.sub(rf'-[0-9a-f]{{{HASH_DIGITS}}}$', '', name)


def published(checkpoint: Any, source: Path) -> dict:
    """What of a checkpoint is handed on.

    Args:
        checkpoint: A state dict, or a dictionary that has one.
        source: For errors.

    Returns:
        ``state_dict``, without what only distillation needs, and ``meta``, whose config
        is without places on this machine but for those of the data.

    Raises:
        CheckpointError: If there are no weights in it, or some that are not finite, or
            ``meta`` is no dictionary.
    """
    whole = checkpoint if isinstance(checkpoint, Mapping) else {}
    state_dict = whole.get('state_dict', whole)
    problem = what_is_wrong(state_dict)
    if problem is not None:
        if 'state_dict' not in whole:
            problem = ', '.join(map(str, whole)) or type(checkpoint).__name__
        raise CheckpointError(
            f"{source}: expected tensors by name as 'state_dict', got {problem}"
        )
    meta = whole.get('meta', {}) if 'state_dict' in whole else {}
    if not isinstance(meta, Mapping):
        raise CheckpointError(
            f"{source}: expected a dictionary as 'meta', got {type(meta).__name__}"
        )
    weights = without_training_only(named(state_dict))
    broken = not_finite(weights) + nan_thresholds(weights)
    if broken:
        raise CheckpointError(f'{source} is broken:{first_of(broken)}')
    meta = {key: meta[key] for key in META if key in meta}
    if 'cfg' in meta:
        meta['cfg'] = published_config(meta.pop('cfg'))
    return dict(
        meta={key: meta[key] for key in META if meta.get(key) is not None},
        state_dict=weights,
    )


def what_is_wrong(state_dict: Any) -> str | None:
    """What something is instead of tensors by name; None if it is that."""
    if not isinstance(state_dict, Mapping):
        return type(state_dict).__name__
    if not state_dict:
        return 'an empty dictionary'
    for key, value in state_dict.items():
        if not isinstance(key, str):
            return f'{key!r} as a name'
        if not isinstance(value, Tensor):
            return f'{key!r}, which is of type {type(value).__name__}'
    return None


def nan_thresholds(state_dict: Mapping[str, Tensor]) -> list[str]:
    """Name the thresholds that are NaN; infinite ones mean always or never."""
    return [
        f'{name}: expected numbers, got nan'
        for name, tensor in state_dict.items()
        if name.endswith('threshold_logits') and tensor.isnan().any()
    ]


def published_config(text: Any) -> str | None:
    """The text of a config without local settings, None for what is no plain text."""
    try:
        if not isinstance(text, str):
            raise ValueError(f'expected text, got {type(text).__name__}')
        return without_local_settings(text)
    except ValueError as err:
        say(f'The config is left out, for it may name places on this machine: {err}')
        return None


def cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in another type of numbers, if it is one of floats that fits."""
    if not tensor.is_floating_point():
        return tensor
    if dtype is torch.float16 and name.endswith(FULL_PRECISION):
        return tensor
    converted = tensor.to(dtype)
    fits = bool((converted.isfinite() == tensor.isfinite()).all())
    return converted if fits else tensor


def to_bytes(content: dict) -> bytes:
    """A checkpoint as the bytes of its file.

    Each tensor is copied, for a view would bring along all that it is a view of.
    """
    copies = {key: value.clone() for key, value in content['state_dict'].items()}
    buffer = io.BytesIO()
    torch.save(plain_data({**content, 'state_dict': copies}), buffer)
    return buffer.getvalue()
