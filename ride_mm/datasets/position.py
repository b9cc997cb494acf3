"""Randomness as a function of position, so that a resumed run equals a straight one.

Augmentation is seeded by (seed, epoch, index) and everything that happens to a batch
by (seed, epoch, iteration, process). Neither depends on how often a generator was used
before, on the number of workers, or on where a run was interrupted.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import get_worker_info

# Generators for NumPy's functions inside of `positioned`; blocks may be nested.
_spare: list[np.random.MT19937] = []


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

    In the main process the generators go on afterwards as if nothing had been; a data
    loader's worker draws nothing outside such blocks and is spared the cost. NumPy's
    state takes longer to copy than an image to augment, so another generator takes its
    place instead. If NumPy has cached the second number of a Gaussian pair, that number
    is lost.
    """
    main_process = get_worker_info() is None
    if main_process:
        states = random.getstate(), torch.get_rng_state()
        ambient = np.random.get_bit_generator()
        own = _spare.pop() if _spare else np.random.MT19937(0)
        np.random.set_bit_generator(own)
    try:
        seed_generators(position_seed(*position))
        yield
    finally:
        if main_process:
            random.setstate(states[0])
            torch.set_rng_state(states[1])
            np.random.seed(0)  # Else a normal number held back would get out.
            np.random.set_bit_generator(ambient)
            _spare.append(own)
