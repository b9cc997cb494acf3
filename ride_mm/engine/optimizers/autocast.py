"""Training in bfloat16 on any device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision with bfloat16, on CPU and GPU.

    bfloat16 has the range of fp32, so the loss needs no scaling. Parameters, gradients
    and the optimizer's state stay in fp32. MMEngine's ``AmpOptimWrapper`` is for fp16,
    with loss scaling, and refuses the CPU.

    Args:
        **kwargs: Options of :class:`mmengine.optim.OptimWrapper`, such as
            ``optimizer``, ``clip_grad`` and ``accumulative_counts``.
    """

    def __init__(self, **kwargs) -> None:
        for name in ('dtype', 'loss_scale', 'use_fsdp'):
            if name in kwargs:
                raise ValueError(
                    'AutocastOptimWrapper always is bfloat16 without loss scaling: '
                    f'expected no {name}, got {kwargs[name]!r}; for fp16 use '
                    'AmpOptimWrapper'
                )
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass in bfloat16."""
        device = next(model.parameters()).device.type
        with (
            super().optim_context(model),
            torch.autocast(device_type=device, dtype=torch.bfloat16),
        ):
            yield
