"""The device that a program computes on."""

import torch

from .errors import UsageError


def pick_device(name: str | None) -> torch.device:
    """Find the device, a GPU if there is one and no other is named.

    Args:
        name: As PyTorch names it, such as ``'cuda:1'``; None or ``'auto'`` to choose.

    Raises:
        UsageError: If PyTorch cannot use it.
    """
    if name in (None, 'auto'):
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (AssertionError, ImportError, RuntimeError) as err:
        reason = str(err).split('\n')[0]
        raise UsageError(
            f'--device: expected one that PyTorch can use, got {name} ({reason})'
        ) from None
    return device
