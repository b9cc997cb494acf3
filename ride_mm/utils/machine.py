"""What computes: processors and GPU."""

import os
import platform
from pathlib import Path

import torch
from mmengine.dist import get_world_size

CPU_INFO = Path('/proc/cpuinfo')


def processor_name() -> str:
    """Name the processor, as the operating system does."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:  # Not Linux.
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if 'model name' in line]
    return names[0] if names else platform.processor() or platform.machine()


def usable_processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes_here() -> int:
    """Processes of this training on this machine.

    As torchrun and Slurm tell; else all of them may be here.
    """
    for name in ('LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE'):
        if os.environ.get(name, '').isdigit():
            return int(os.environ[name])
    return get_world_size()


def machine_name(device: torch.device) -> str:
    """Name the processor, and before it the GPU if that computes."""
    if device.type == 'cuda':
        return f'{torch.cuda.get_device_name(device)}, {processor_name()}'
    return processor_name()
