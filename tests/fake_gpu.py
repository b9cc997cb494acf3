"""A GPU that is not there: devices and shapes of what would be computed on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


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


class HostCopyError(RuntimeError):
    """Something goes from the CPU to the GPU while that computes."""


class NoHostCopies(TorchDispatchMode):
    """Refuses what copies from the CPU to the GPU and waits for it, inside a step.

    No CUDA graph can record it. Numbers, and tensors without a dimension, are arguments
    of a kernel and no copies.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is aten._to_copy.default:
            to_gpu = torch.device(kwargs.get('device') or 'cpu').type == 'cuda'
            copies = to_gpu and args[0].is_cpu and not kwargs.get('non_blocking')
        elif func is aten.copy_.default:
            copies = args[0].is_cuda and args[1].is_cpu and args[1].ndim > 0
        elif func in (aten.index.Tensor, aten.index_put_.default):
            places = [one for one in args[1] if one is not None]
            copies = args[0].is_cuda and any(one.is_cpu for one in places)
        else:
            copies = False
        if copies:
            raise HostCopyError(f'{func} of a tensor on the CPU')
        return func(*args, **kwargs)


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
