"""What computes: the names of processor and GPU."""

import platform
from pathlib import Path

import torch

CPU_INFO = Path('/proc/cpuinfo')


def processor_name() -> str:
    """Name the processor, as the operating system does."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:  # Not Linux.
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if 'model name' in line]
    return names[0] if names else platform.processor() or platform.machine()


def machine_name(device: torch.device) -> str:
    """Name the processor, and before it the GPU if that computes."""
    if device.type == 'cuda':
        return f'{torch.cuda.get_device_name(device)}, {processor_name()}'
    return processor_name()
