"""The config that a program is called with, and the options that change it."""

import argparse
import json
from pathlib import Path

from mmengine.config import Config

from ...utils import find_config
from ..errors import UsageError
from .checks import check_settings
from .options import OptionsAction, merge_options
from .schedule import scale_schedule


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``; enough for a tool that builds the model alone."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='settings that override the config, such as '
        'train_dataloader.batch_size=64 or optim_wrapper.clip_grad.max_norm=5',
    )
    parser.set_defaults(launcher='none', work_dir=None, local_rank=0)


def load_config(args: argparse.Namespace, epochs: int | None = None) -> Config:
    """Read the config, a path or a name, and apply options and work directory.

    Args:
        args: The options; their ``config`` may also be a config itself, which is left
            as it is.
        epochs: Scale the schedule to this length, before ``--cfg-options`` apply.

    Raises:
        UsageError: If there is no such config, or an option that does not fit it.
    """
    if isinstance(args.config, Config):
        path, cfg = 'config', Config(args.config.to_dict())
    else:
        try:
            path = find_config(args.config)
        except FileNotFoundError as err:
            raise UsageError(str(err)) from None
        cfg = read_config(path)
    cfg.merge_from_dict(scale_schedule(cfg, epochs))
    merge_options(cfg, args.cfg_options)
    check_settings(cfg)
    drop_hooks(cfg)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        if not args.work_dir:
            raise UsageError("--work-dir: expected a folder's name, got ''")
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = f'./work_dirs/{Path(path).stem}'
    return cfg


def read_config(path: str | Path) -> Config:
    """Read a config's file.

    Raises:
        UsageError: If it is none, or cannot be read; other errors of its code pass.
    """
    try:
        return Config.fromfile(path)
    except SyntaxError as err:
        if isinstance(err.__context__, KeyboardInterrupt):
            raise  # MMEngine takes a Ctrl-C, while it formats a config, for it.
        found = f'line {err.lineno}: {err.msg}'
    except (OSError, UnicodeDecodeError, ImportError, json.JSONDecodeError) as err:
        found = str(err)
    raise UsageError(f'expected a config that can be read, got {path}: {found}')


def drop_hooks(cfg: Config) -> None:
    """Let ``default_hooks.NAME=None`` drop any hook; MMEngine drops only its own."""
    own = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler')
    hooks = cfg.get('default_hooks', {})
    for name in [name for name, hook in hooks.items() if hook is None]:
        if name not in (*own, 'checkpoint'):
            del hooks[name]
