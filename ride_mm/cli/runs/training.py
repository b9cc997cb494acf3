"""Train a model from the command line."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from mmengine.config import Config

from ...engine.checkpoint_io import latest_checkpoint
from ...utils.freed_memory import keep_freed_memory
from ..configs.loading import load_config
from ..errors import UsageError
from ..files import existing_file
from ..program import is_first_process, run_main, say
from .checked_run import checked_run
from .precision import add_amp_option, set_precision, spell_out_amp
from .runner import add_common_options, build_runner, set_dataloader_defaults
from .work_dir import earlier_run, locked, refuse_earlier_run

# What --compile sets, also where the config has no such hook.
COMPILED = {
    'default_hooks.compile.type': 'CompileHook',
    'default_hooks.compile.enable': True,
}
DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def train_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/train.py``."""
    argv = spell_out_amp(sys.argv[1:] if argv is None else argv)
    run_main(train, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of training: MMPretrain's, and --overwrite, --epochs, --compile."""
    parser = argparse.ArgumentParser(
        description='Train a model', allow_abbrev=False, prog='train.py'
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help="go on from this checkpoint, or from the work directory's latest one",
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='start anew where an earlier run has left checkpoints, and remove these '
        '(epoch_*.pth, iter_*.pth, best_*.pth, last_checkpoint)',
    )
    parser.add_argument(
        '--epochs',
        type=int,
        help='train this long, with the schedule of learning rate and re-weighting '
        'scaled to it; --cfg-options apply afterwards',
    )
    add_amp_option(parser)
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the backbone, which takes about a minute and then trains faster; '
        'needs a C++ compiler, on a GPU Triton',
    )
    parser.add_argument('--no-validate', action='store_true', help='train only')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by batch size over all processes',
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='start the workers anew for each epoch',
    )
    add_common_options(parser)
    return parser


def train(args: argparse.Namespace) -> None:
    """Train as the options say.

    Raises:
        UsageError: If they cannot be followed.
    """
    cfg = load_config(args, args.epochs)
    if cfg.get('train_dataloader') is None:
        raise UsageError(
            f'expected a config for training, got {args.config}, which has '
            'no train_dataloader'
        )
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp is not None:
        set_precision(cfg.optim_wrapper, args.amp)
    if args.compile:
        cfg.merge_from_dict(COMPILED)
    if args.auto_scale_lr:
        scale_learning_rate(cfg)
    set_dataloader_defaults(
        cfg, DATALOADERS, not args.no_pin_memory, not args.no_persistent_workers
    )
    # The first process holds the work directory. All look into it before they are
    # connected, thus before any of them writes checkpoints of this run.
    with locked(cfg.work_dir) if is_first_process() else nullcontext():
        earlier = set_work_dir(
            cfg, bool(args.resume or cfg.get('resume')), args.overwrite
        )
        set_start(cfg, args.resume)
        if not torch.cuda.is_available():
            keep_freed_memory()
        with checked_run(cfg, earlier) as begin:
            runner = build_runner(cfg)
            runner.register_hook(begin, priority='LOWEST')
            runner.train()


def scale_learning_rate(cfg: Config) -> None:
    """Scale the learning rate linearly with the batch size.

    Raises:
        UsageError: If the config does not say which batch size its rate is for.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UsageError(
            '--auto-scale-lr: expected auto_scale_lr=dict(base_batch_size=...) in the '
            'config, got none'
        )
    cfg.auto_scale_lr.enable = True


def set_start(cfg: Config, resume: str | None) -> None:
    """Decide where training starts, and say so.

    Args:
        cfg: The config; ``resume`` and ``load_from`` are set in it.
        resume: A checkpoint, ``'auto'`` for the work directory's latest one, or None to
            do what the config says.

    Raises:
        UsageError: If the checkpoint to resume from does not exist.
    """
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    cfg.resume = False
    if resume == 'auto':
        resume = latest_checkpoint(cfg.work_dir)
        if resume is None:
            weights = cfg.get('load_from')
            start = f'the weights of {weights}' if weights else 'scratch'
            say(f'No checkpoint in {cfg.work_dir} to resume: starting from {start}.')
    if resume is not None:
        cfg.load_from = existing_file(resume, 'a checkpoint to resume from')
        cfg.resume = True
        say(f'Resuming from {resume}.')
    elif cfg.get('load_from'):
        existing_file(
            cfg.load_from, 'a checkpoint in load_from (--cfg-options load_from=FILE)'
        )


def set_work_dir(cfg: Config, resuming: bool, overwrite: bool) -> list[Path]:
    """See to it that a new run does not mix with an earlier one.

    Args:
        cfg: The config.
        resuming: Whether to go on was asked for, though there may be nothing yet.
        overwrite: Whether the checkpoints of an earlier run are to be removed.

    Returns:
        What is to be removed when the run begins.

    Raises:
        UsageError: If it would, or if the options contradict each other.
    """
    if overwrite and resuming:
        raise UsageError('--overwrite: expected to start anew, got --resume too')
    if overwrite:
        return earlier_run(cfg.work_dir, cfg.get('load_from'))
    if not resuming:
        refuse_earlier_run(cfg.work_dir)
    return []
