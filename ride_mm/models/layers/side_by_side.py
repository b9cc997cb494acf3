"""Independent parts of a network, side by side on a GPU."""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor


def side_by_side(
    functions: Sequence[Callable[[Tensor], Tensor]], x: Tensor
) -> tuple[Tensor, ...]:
    """Apply functions to one tensor.

    While a CUDA graph is recorded each function gets a stream of its own, so that the
    graph, and that of the backward pass, may run the kernels of several at once: those
    of small networks fill a GPU only together. The values are the same. Elsewhere, and
    in compiled code, the functions are called one after the other.

    Args:
        functions: What to compute; none depends on another.
        x: Their argument.

    Returns:
        Their results, in order.
    """
    if torch.compiler.is_compiling() or not x.is_cuda or not _recording():
        return tuple(function(x) for function in functions)
    main = torch.cuda.current_stream(x.device)
    start = torch.cuda.Event()
    start.record(main)
    first, *others = functions
    results = [first(x)]
    for i, function in enumerate(others):
        stream = _stream(x.device, i)
        stream.wait_event(start)
        x.record_stream(stream)
        with torch.cuda.stream(stream):
            results.append(function(x))
    for i, result in enumerate(results[1:]):
        main.wait_stream(_stream(x.device, i))
        result.record_stream(main)
    return tuple(results)


def _recording() -> bool:
    return torch.cuda.is_current_stream_capturing()


@cache
def _stream(device: torch.device, number: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
