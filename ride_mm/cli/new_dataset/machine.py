"""What the machine has."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ...utils.machine import usable_processors

# Limits of a container, by versions 2 and 1 of Linux's control groups.
LIMITS = (
    '/sys/fs/cgroup/memory.max',
    '/sys/fs/cgroup/memory/memory.limit_in_bytes',
)
UNKNOWN_MEMORY = 4 * 2**30


@dataclass(frozen=True)
class Machine:
    """What a training can use.

    Attributes:
        cores: Cores of the CPU that this process may use.
        memory: Bytes of main memory.
        gpu: Name of the first GPU, None without one.
        gpu_memory: Its memory in bytes.
    """

    cores: int
    memory: int
    gpu: str | None = None
    gpu_memory: int = 0

    def __str__(self) -> str:
        gpu = f'{self.gpu}, {self.gpu_memory / 2**30:.0f} GB' if self.gpu else 'no GPU'
        cores = f'{self.cores} core{"" if self.cores == 1 else "s"}'
        return f'{gpu}; {cores}, {self.memory / 2**30:.0f} GB'


def this_machine() -> Machine:
    """The machine that the program runs on."""
    gpu, gpu_memory = None, 0
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gpu, gpu_memory = properties.name, properties.total_memory
    return Machine(usable_processors(), main_memory(), gpu, gpu_memory)


def main_memory() -> int:
    """Bytes of main memory, those of the container if it has fewer."""
    try:
        memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (AttributeError, ValueError, OSError):  # Not on Windows.
        memory = UNKNOWN_MEMORY
    for path in LIMITS:
        try:
            memory = min(memory, int(Path(path).read_text()))
        except (OSError, ValueError):  # 'max' means none.
            continue
    return memory
