"""Functions timed in turns, so that a noisy machine slows all of them alike."""

import math
import time
from collections.abc import Callable, Sequence

import torch

MIN_ROUNDS = 5
# Seconds of a block of calls: the clock's tick and the last wait then count little. A
# GPU is behind the processor by many calls, which wait for each other at the end.
BLOCK, BLOCK_ON_GPU = 0.01, 0.2


def time_in_turns(
    functions: Sequence[Callable[[], object]], seconds: float, device: torch.device
) -> list[tuple[float, ...]]:
    """Time functions in turns, in each second round in reverse.

    Args:
        functions: What to call.
        seconds: How long, at least; there are ``MIN_ROUNDS`` in any case.
        device: Where they compute; a GPU is waited for.

    Returns:
        Seconds of one call of each function, for each round.
    """

    def wait() -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)

    def time_block(function: Callable[[], object], calls: int) -> float:
        wait()
        start = time.perf_counter()
        for _ in range(calls):
            function()
        wait()
        return (time.perf_counter() - start) / calls

    for function in functions:  # Warm-up: kernels are chosen, memory is allocated.
        time_block(function, 2)
    block = BLOCK_ON_GPU if device.type == 'cuda' else BLOCK
    calls = [math.ceil(block / time_block(function, 2)) for function in functions]
    rounds, end = [], time.perf_counter() + seconds
    while len(rounds) < MIN_ROUNDS or time.perf_counter() < end:
        order = range(len(functions))
        if len(rounds) % 2:
            order = order[::-1]
        times = {i: time_block(functions[i], calls[i]) for i in order}
        rounds.append(tuple(times[i] for i in range(len(functions))))
    return rounds
