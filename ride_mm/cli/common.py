"""What training and testing share: options, configs, data loaders, errors."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..engine.checkpoint_io import CheckpointError
from ..engine.hooks.kd import TeacherError
from ..engine.hooks.nan_guard import NonFiniteError
from ..engine.hooks.schedule_guard import ScheduleChangedError
from ..utils import find_config
from .config_checks import check_settings
from .errors import UsageError
from .options import OptionsAction, merge_options
from .schedule import scale_schedule

# Where the code of ride_mm lies.
PACKAGE = Path(__file__).parents[1]
# Exit status of a program that Ctrl-C ended.
INTERRUPTED = 128 + 2
# Seconds that the other processes leave to the first one to tell what is wrong.
PATIENCE = 10
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')

# What our own errors are.
KINDS = (ValueError, TypeError, RuntimeError, OSError, ImportError)
# Errors whose message says it all; others keep their traceback.
USER_ERRORS = (
    UsageError,
    CheckpointError,
    NonFiniteError,
    ScheduleChangedError,
    TeacherError,
)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing have in common."""
    parser.add_argument(
        '--work-dir', help='where logs and files go (default: work_dirs/CONFIG)'
    )
    parser.add_argument(
        '--no-pin-memory', action='store_true', help='do not pin the memory of batches'
    )
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='how processes are started',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


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
    """Read the config, a path or a name, and apply the options common to both tools.

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


def set_dataloader_defaults(
    cfg: Config, names: Sequence[str], pin_memory: bool, persistent_workers: bool
) -> None:
    """Fill in how data loaders load, where the config does not say."""
    for name in names:
        loader = cfg.get(name)
        if loader is None:
            continue
        loader.setdefault('collate_fn', {'type': 'default_collate'})
        loader.setdefault('persistent_workers', True)
        loader.setdefault('pin_memory', torch.cuda.is_available())
        loader.pin_memory = loader.pin_memory and pin_memory
        loader.persistent_workers = (
            loader.persistent_workers
            and persistent_workers
            # Without workers PyTorch refuses persistent ones.
            and loader.get('num_workers', 0) > 0
        )


def unnamed(cfg: Config) -> Config:
    """A config without its file's name.

    MMEngine writes the config of a run into the work directory under that name, where a
    test would replace the training's; without one it takes the time.
    """
    return Config(cfg.to_dict())


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config asks for."""
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def is_first_process() -> bool:
    """Whether this process is the one that speaks; also before they are connected."""
    names = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return int(next((os.environ[n] for n in names if n in os.environ), 0)) == 0


def say(message: str) -> None:
    """Print a message, in one process only."""
    if is_first_process():
        print(message, flush=True)


def run_main(
    main: Callable[[argparse.Namespace], object],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    error_status: int = 1,
) -> object:
    """Run a tool; errors that are meant for its user are printed without traceback.

    Args:
        main: The tool.
        parser: Of its options.
        argv: The options, None for those of the program.
        error_status: Exit status after such an error.

    Returns:
        What ``main`` returns.
    """
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        return main(args)
    except BrokenPipeError:
        # Whoever read the output has gone; nor can Python write what is left of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(error_status)
    except Exception as err:
        cause = err.__context__
        if isinstance(err, SyntaxError) and isinstance(cause, KeyboardInterrupt):
            # MMEngine takes a Ctrl-C, while it formats a config, for wrong syntax.
            _interrupted()
        if isinstance(err, OSError) and err.filename is not None:
            # From any process: a disk may be full, or a file absent, on one machine.
            _exit(f'error: {err.filename}: {err.strerror or err}', error_status)
        if not (isinstance(err, USER_ERRORS) or says_expected(err)):
            raise
        if not is_first_process():
            # The first one tells the same; the launcher ends all when the first of any
            # has ended, so wait for that. What is wrong here alone is told here.
            time.sleep(PATIENCE)
        _exit(f'error: {err}', error_status)
    except KeyboardInterrupt:
        _interrupted()


def says_expected(err: Exception) -> bool:
    """Whether an error is one of ours that tells its user what is wrong.

    That is what the package itself raises with the words "expected" or "unusable", not
    what something that it calls does.
    """
    if not isinstance(err, KINDS):
        return False
    raised = err.__traceback__
    while raised is not None and raised.tb_next is not None:
        raised = raised.tb_next
    file = raised.tb_frame.f_code.co_filename if raised else ''
    ours = Path(file).is_relative_to(PACKAGE)
    return ours and any(word in str(err) for word in ('expected', 'unusable'))


def _interrupted() -> NoReturn:
    if is_first_process():
        print('interrupted', file=sys.stderr)
    sys.exit(INTERRUPTED)


def _exit(message: str, status: int) -> NoReturn:
    if status == 1:
        sys.exit(message)
    print(message, file=sys.stderr)
    sys.exit(status)


def existing_file(path: str | None, what: str) -> str:
    """Check that a file exists; addresses on the web are passed on.

    Raises:
        UsageError: If there is no such file.
    """
    if '://' not in path and not Path(path).expanduser().is_file():
        found = 'a folder' if Path(path).expanduser().is_dir() else 'no such file'
        raise UsageError(f'expected {what}, got {path}: {found}')
    return path
