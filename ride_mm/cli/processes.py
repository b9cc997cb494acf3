"""Several processes: on GPUs as MMEngine does it, and on the CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from torch import distributed

from .errors import UsageError


@contextmanager
def processes(cfg: Config) -> Iterator[None]:
    """Connect the processes of ``cfg.launcher`` and part them at the end.

    With GPUs MMEngine connects them. Without, it would ask for a GPU all the same, so
    they are connected here with gloo, and the model is wrapped without a device.

    Raises:
        UsageError: If launcher, processes and devices do not go together.
    """
    check_launcher(cfg.launcher)
    if cfg.launcher == 'pytorch' and not torch.cuda.is_available():
        distributed.init_process_group('gloo')
        wrapper = cfg.get('model_wrapper_cfg') or {
            'type': 'MMDistributedDataParallel',
            # With a wrapper's config MMEngine leaves PyTorch's default, which is True.
            'broadcast_buffers': False,
            'find_unused_parameters': cfg.get('find_unused_parameters', False),
        }
        cfg.model_wrapper_cfg = {**wrapper, 'device_ids': None}
    try:
        yield
    finally:
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()


def check_launcher(launcher: str) -> None:
    """Refuse what would hang, or train copies that overwrite each other.

    Raises:
        UsageError: With what to do instead.
    """
    started = int(os.environ.get('WORLD_SIZE', 1))
    if launcher == 'none' and started > 1:
        raise UsageError(
            f'{started} processes were started, but --launcher is none: expected '
            '--launcher pytorch under torchrun (or use tools/dist_train.sh)'
        )
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UsageError(
            '--launcher pytorch: expected to be started by torchrun, got a single '
            'process; use tools/dist_train.sh CONFIG NPROC, or leave --launcher out'
        )
    if launcher in ('slurm', 'mpi') and not torch.cuda.is_available():
        raise UsageError(
            f'--launcher {launcher}: expected a GPU for each process, got none; '
            'without GPUs start the processes with tools/dist_train.sh'
        )
    if launcher == 'pytorch' and torch.cuda.is_available():
        # The same in each process, for only the first one speaks.
        here = int(os.environ.get('LOCAL_WORLD_SIZE', started))
        devices = torch.cuda.device_count()
        if here > devices:
            raise UsageError(
                f'expected at most one process for each of {devices} GPUs, got {here}; '
                'for processes on the CPU set CUDA_VISIBLE_DEVICES=-1'
            )
