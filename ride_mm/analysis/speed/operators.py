"""Which of PyTorch's operators a computation spends its time in."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Operator:
    """An operator, or a kernel of compiled code, and what it costs.

    Attributes:
        name: PyTorch's.
        seconds: All calls together, without what they call in turn.
        share: Of the time of all, from 0 to 1.
        calls: How often it is called.
    """

    name: str
    seconds: float
    share: float
    calls: float


def time_operators(
    function: Callable[[], object], rounds: int, device: torch.device
) -> list[Operator]:
    """Time the operators that a function calls, by PyTorch's profiler.

    Args:
        function: What to look into; it has been called before.
        rounds: How often to call it, >= 1.
        device: Where it computes; of a GPU the time of its kernels counts.

    Returns:
        For one call of the function, the most expensive first. On a CPU the kernels of
        compiled code are there if they were compiled under
        ``torch._inductor.config.cpp.enable_kernel_profile``.
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
    taken = {
        event.key: (
            event.self_device_time_total if on_gpu else event.self_cpu_time_total,
            event.count,
        )
        for event in profiled.key_averages()
        # An operator has the time of its kernels, too, which are counted by themselves.
        if not on_gpu or event.device_type is DeviceType.CUDA
    }
    total = sum(time for time, _ in taken.values())
    found = [
        Operator(name, 1e-6 * time / rounds, time / total, count / rounds)
        for name, (time, count) in taken.items()
        if time > 0
    ]
    return sorted(found, key=lambda one: one.seconds, reverse=True)
