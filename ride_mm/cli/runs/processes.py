"""Several processes: on GPUs as MMEngine does it, and on the CPU."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from mmengine.config import Config
from torch import distributed

from ..errors import UsageError


@contextmanager
def processes(cfg: Config) -> Iterator[None]:
    """Connect the processes of ``cfg.launcher`` and part them at the end.

    All processes end together. Otherwise a process that crashes while it exits makes
    the launcher stop the first one before that has saved its last file.

    With GPUs MMEngine connects them. Without, it would ask for a GPU all the same, so
    they are connected here with gloo, and the model is wrapped without a device.

    Raises:
        UsageError: If launcher, processes and devices do not go together.
    """
    check_launcher(cfg.launcher)
    if cfg.launcher in ('pytorch', 'slurm') and not torch.cuda.is_available():
        if cfg.launcher == 'slurm':
            os.environ.update(slurm_rendezvous(os.environ))
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
        if connected():
            # Also lets gloo's threads let go of tensors, for which they need the
            # interpreter: one that is ending aborts the process.
            distributed.barrier()
    finally:
        if connected():
            distributed.destroy_process_group()


def connected() -> bool:
    """Whether processes can talk to each other."""
    return distributed.is_available() and distributed.is_initialized()


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
    if launcher == 'slurm':
        _check_slurm()
    if launcher == 'mpi' and not torch.cuda.is_available():
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


def _check_slurm() -> None:
    """Refuse a start that is not srun's, or a process without a GPU of its own."""
    if not {'SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'} <= set(os.environ):
        raise UsageError(
            '--launcher slurm: expected to be started by srun, got a process without '
            'SLURM_PROCID, SLURM_NTASKS and SLURM_NODELIST; use tools/slurm_train.sh'
        )
    devices = torch.cuda.device_count()
    place = int(os.environ.get('SLURM_LOCALID', 0))
    if torch.cuda.is_available() and place >= devices:
        raise UsageError(
            f'expected each process of a node to see a GPU of its own, got {devices} '
            f'for process {place + 1}; ask Slurm for the GPUs of a node '
            '(--gres=gpu:N), not of a task, and for at most so many tasks'
        )


def slurm_rendezvous(environ: Mapping[str, str]) -> dict[str, str]:
    """Where and as whom a process of srun meets the others, in PyTorch's words.

    Args:
        environ: The environment, with Slurm's variables.

    Returns:
        The variables that :func:`torch.distributed.init_process_group` reads.

    Raises:
        UsageError: If the first node has no name.
    """
    nodes = environ['SLURM_NODELIST']
    address = environ.get('MASTER_ADDR')
    if address is None and environ.get('SLURM_NNODES', '1') == '1':
        address = '127.0.0.1'
    elif address is None:
        command = 'scontrol', 'show', 'hostnames', nodes
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            address = done.stdout.split()[0]
        except (OSError, subprocess.CalledProcessError, IndexError) as err:
            raise UsageError(
                f'expected the first host of {nodes} from `{" ".join(command)}`, got '
                f'{err}; MASTER_ADDR names it, too'
            ) from None
    return {
        'RANK': environ['SLURM_PROCID'],
        'WORLD_SIZE': environ['SLURM_NTASKS'],
        'LOCAL_RANK': environ.get('SLURM_LOCALID', '0'),
        'MASTER_ADDR': address,
        'MASTER_PORT': environ.get('MASTER_PORT', '29500'),
    }
