"""The most memory that a call holds at once."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch

# Of proc_pid_clear_refs(5): forget the highest resident set so far.
RESET_PEAK = '5'


def peak_memory(function: Callable[[], object], device: torch.device) -> int | None:
    """Measure what a second call needs on top of what is held before it.

    On a GPU that is what PyTorch allocates. On a CPU it is the growth of the resident
    set, which is right only as long as freed memory goes back to the system, thus
    before :func:`~ride_mm.utils.freed_memory.keep_freed_memory`.

    Args:
        function: What to call, twice.
        device: Where it computes.

    Returns:
        Bytes, or None where the system does not tell.
    """
    function()  # What stays, such as the optimizer's state, is not counted.
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path('/proc/self/clear_refs').write_text(RESET_PEAK)
        before = _resident('VmRSS')
        function()
        return max(0, _resident('VmHWM') - before)
    except (AttributeError, OSError, StopIteration, TypeError):  # Not Linux, not glibc.
        return None


def _resident(key: str) -> int:
    """Bytes of the resident set now (VmRSS) or at most (VmHWM)."""
    lines = Path('/proc/self/status').read_text().splitlines()
    line = next(line for line in lines if line.startswith(f'{key}:'))
    return 1024 * int(line.split()[1])
