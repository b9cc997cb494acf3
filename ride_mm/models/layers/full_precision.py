"""Computing in fp32, whatever is around."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager:
    """Switch autocast off on the device of ``x``, if it is on.

    Where it is off, nothing is entered: for a single image that would be a good part of
    a router's time.
    """
    if not x.is_meta and torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()
