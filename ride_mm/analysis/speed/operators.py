"""Which of PyTorch's operators a computation spends its time in."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Operator:
    """An operator, or a kernel that was compiled, and what it costs.

    Attributes:
        name: PyTorch's.
        seconds: All calls together, without what they call in turn.
        calls: How often it is called.
    """

    name: str
    seconds: float
    calls: float


def time_operators(
    function: Callable[[], object], rounds: int, device: torch.device
) -> list[Operator]:
    """Time the operators that a function calls, by PyTorch's profiler.

    Args:
        function: What to look into; it has been called before.
        rounds: How often to call it, >= 1.
        device: Where it computes; of a GPU its own time counts.

    Returns:
        For one call of the function, the most expensive first.
    """
    on_gpu = device.type == 'cuda'
    activities = [ProfilerActivity.CPU]
    if on_gpu:
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiled:
        for _ in range(rounds):
            function()
        if on_gpu:
            torch.cuda.synchronize(device)
    found = []
    for event in profiled.key_averages():
        taken = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if taken > 0:
            found.append(
                Operator(event.key, 1e-6 * taken / rounds, event.count / rounds)
            )
    return sorted(found, key=lambda one: one.seconds, reverse=True)
