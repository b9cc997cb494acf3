"""Forward and backward pass of one shape of batch as a CUDA graph."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class CapturedStep:
    """A function of tensors, with the gradients it leaves behind, recorded once.

    What is recorded is which kernels run on which memory: a replay computes the same
    with the values that the inputs, parameters and buffers have by then. Numbers that
    live outside of tensors stay as they were.

    Args:
        compute: Maps inputs to what is to be reported, (K,), and calls ``backward``.
        inputs: Of the shapes and on the device that all later ones have.
        parameters: Whose gradients it leaves behind.
        pool: Memory shared with other graphs, of ``torch.cuda.graph_pool_handle``.
        stream: To record on.
    """

    def __init__(
        self,
        compute: Callable[..., Tensor],
        inputs: Sequence[Tensor],
        parameters: Sequence[nn.Parameter],
        pool: tuple[int, int],
        stream: torch.cuda.Stream,
    ) -> None:
        self._inputs = [one.clone() for one in inputs]
        # Without a gradient the backward pass writes one, in place of adding to it.
        for parameter in parameters:
            parameter.grad = None
        self._graph = torch.cuda.CUDAGraph()
        # Other threads, which pin the next batch in memory, may go on meanwhile.
        recording = torch.cuda.graph(
            self._graph, pool=pool, stream=stream, capture_error_mode='thread_local'
        )
        with recording:
            self.report = compute(*self._inputs)
        self._gradients = [(one, one.grad) for one in parameters]

    def replay(self, inputs: Sequence[Tensor]) -> Tensor:
        """Compute anew; the parameters then have their gradients.

        Returns:
            The report, (K,), in memory that the next replay overwrites.
        """
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        self._graph.replay()
        return self.report
