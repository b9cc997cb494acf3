"""Where jobs run side by side: GPUs, or threads of the processor."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from ...utils.machine import usable_processors
from ..errors import UsageError

THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')


@dataclass(frozen=True)
class Slot:
    """A place for one job at a time.

    Attributes:
        name: What it computes on.
        environ: Changes to the environment of its job.
    """

    name: str
    environ: Mapping[str, str] = field(default_factory=dict)


def make_slots(
    jobs: int | None, gpus: int | None = None, environ: Mapping[str, str] | None = None
) -> list[Slot]:
    """Divide the machine between jobs.

    On GPUs the jobs are dealt out, one GPU each, several to a GPU if there are more
    jobs. Otherwise, and for what a GPU's job does on the processor, they share the
    threads.

    Args:
        jobs: How many at once; by default one on each GPU, one on the processor.
        gpus: Number of GPUs that are visible, by default those PyTorch finds.
        environ: The environment.

    Raises:
        UsageError: If that is no number of jobs.
    """
    environ = os.environ if environ is None else environ
    gpus = torch.cuda.device_count() if gpus is None else gpus
    jobs = max(1, gpus) if jobs is None else jobs
    if jobs < 1:
        raise UsageError(f'--jobs: expected at least 1, got {jobs}')
    threads = {}
    if jobs > 1:
        number = str(max(1, available_threads(environ) // jobs))
        threads = dict.fromkeys(THREADS, number)
    if not gpus:
        return [Slot('CPU', threads) for _ in range(jobs)]
    visible = [d for d in environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if d]
    if len(visible) < gpus:
        visible = [str(i) for i in range(gpus)]
    return [
        Slot(f'GPU {device}', {**threads, 'CUDA_VISIBLE_DEVICES': device})
        for device in (visible[i % gpus] for i in range(jobs))
    ]


def available_threads(environ: Mapping[str, str]) -> int:
    """Threads that may compute: those the environment allows, else the processors."""
    for name in THREADS:
        if environ.get(name, '').isdigit():
            return int(environ[name])
    return usable_processors()
