"""A GPU that is not there: devices and shapes of what would be computed on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode


@contextmanager
def fake_gpu() -> Iterator[FakeTensorMode]:
    """Compute shapes alone, on any device.

    What would fail on a GPU fails here, too: an operation on tensors of two devices.
    So does one whose result is asked for, such as ``float(loss)`` or ``nonzero``, for
    which a GPU is waited for, and which no CUDA graph can record.
    """
    capturing = mock.patch('torch.cuda.is_current_stream_capturing', return_value=False)
    pinning = mock.patch.object(Tensor, 'pin_memory', lambda tensor: tensor)
    with capturing, pinning, FakeTensorMode() as mode:
        yield mode


def move(model: nn.Module) -> None:
    """Put the parameters and buffers of a model on the GPU, inside :func:`fake_gpu`."""
    for module in model.modules():
        for name, own in module._parameters.items():
            if own is not None:
                moved = nn.Parameter(_on_gpu(own), requires_grad=own.requires_grad)
                module._parameters[name] = moved
        for name, own in module._buffers.items():
            if own is not None:
                module._buffers[name] = _on_gpu(own)
        if hasattr(module, '_device'):  # Of a data preprocessor.
            module._device = torch.device('cuda')


def _on_gpu(tensor: Tensor) -> Tensor:
    form = dict(dtype=tensor.dtype, device='cuda')
    return torch.empty_strided(tensor.shape, tensor.stride(), **form)
