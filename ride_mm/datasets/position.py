"""Randomness as a function of position, so that a resumed run equals a straight one.

Augmentation is seeded by (seed, epoch, index) and everything that happens to a batch
by (seed, epoch, iteration). Neither depends on how often a generator was used before,
on the number of workers, or on where a run was interrupted.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import get_worker_info


def position_seed(*position: int) -> int:
    """Mix non-negative integers into one well-distributed 64-bit seed."""
    return int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0])


def seed_generators(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's CPU generators with a 64-bit ``seed``."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)


@contextmanager
def positioned(*position: int) -> Iterator[None]:
    """Draw from generators seeded by ``position`` inside the block.

    In the main process the generators' states are put back afterwards; a data loader's
    worker draws nothing outside such blocks and is spared the cost.
    """
    main_process = get_worker_info() is None
    if main_process:
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_generators(position_seed(*position))
    try:
        yield
    finally:
        if main_process:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])
