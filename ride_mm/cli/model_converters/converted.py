"""What the converters of others' weights have in common."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor

from ...engine.checkpoint_io import write_atomically
from ...version import __version__
from ..configs.loading import load_config
from ..errors import UsageError
from ..program import say
from .base_config import classes_of


def check_targets(args: argparse.Namespace, sources: Sequence[str | Path]) -> None:
    """Refuse a checkpoint and a config that must not be written.

    Args:
        args: ``target``, ``config_out`` and ``overwrite``.
        sources: Files that are read.

    Raises:
        UsageError: With expected and got.
    """
    if args.config_out is not None and Path(args.config_out).suffix != '.py':
        raise UsageError(f'--config-out: expected FILE.py, got {args.config_out}')
    outputs = [f for f in (args.target, args.config_out) if f is not None]
    taken = {Path(source).expanduser().resolve() for source in sources}
    for output in outputs:
        path = Path(output)
        if path.resolve() in taken:
            raise UsageError(f'{output}: expected a file of its own, got it twice')
        taken.add(path.resolve())
        if path.is_dir():
            raise UsageError(f'{output}: expected a file to write, got a folder')
        if path.exists() and not path.is_file():
            raise UsageError(f'{output}: expected a regular file, got another kind')
        if path.exists() and not args.overwrite:
            raise UsageError(
                f'{output}: expected a new file, got one that is there; --overwrite '
                'replaces it'
            )
    if Path(args.target).suffix != '.pth':
        raise UsageError(f'target: expected FILE.pth, got {args.target}')


def read_base(name: str, args: argparse.Namespace) -> Config:
    """Read a config with the settings of ``--cfg-options``."""
    return load_config(argparse.Namespace(**{**vars(args), 'config': name}))


def meta_of(source: str, cfg: Config, **more: Any) -> dict:
    """What the checkpoint says about itself.

    Args:
        source: Name of the file that it was made from.
        cfg: Config of the model.
        **more: What else there is to say; None is left out.
    """
    meta = dict(
        converted_from=source, ride_mm_version=__version__, cfg=cfg.pretty_text, **more
    )
    classes, head = classes_of(cfg), cfg.model.get('head')
    if classes is not None and head and len(classes) == head.num_classes:
        meta['dataset_meta'] = dict(classes=tuple(classes))
    return {name: value for name, value in meta.items() if value is not None}


def write_converted(
    state_dict: Mapping[str, Tensor],
    meta: dict,
    cfg: Config,
    heading: str,
    source: str,
    args: argparse.Namespace,
) -> None:
    """Write the checkpoint, and the config that loads it if it is asked for.

    Args:
        state_dict: Of the model.
        meta: Of the checkpoint.
        cfg: Config of the model; its ``load_from`` is set.
        heading: Comment above the config.
        source: What the config is made from besides the model, in words.
        args: ``target`` and ``config_out``.
    """
    write_atomically(dict(meta=meta, state_dict=state_dict), args.target)
    say(f'Checkpoint: {args.target}')
    if args.config_out is not None:
        cfg.load_from = str(args.target)
        write_atomically(heading + cfg.pretty_text, args.config_out)
        say(f'Config:     {args.config_out}, {source}')
