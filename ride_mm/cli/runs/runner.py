"""The runner of a config, and the options of training and testing."""

import argparse
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..configs.loading import add_config_options

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


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
