"""Mixed precision: the option, and what it makes of a config."""

import argparse
from collections.abc import Sequence
from itertools import zip_longest

import torch
from mmengine.config import ConfigDict

from ..errors import UsageError

PRECISIONS = ('fp16', 'bf16')


def add_amp_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--amp``, whose value may be left out."""
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=('auto', *PRECISIONS),
        help='train in mixed precision: bf16, or fp16 with a dynamic loss scale; '
        'without a value bf16, but fp16 on a GPU that has no bf16',
    )


def spell_out_amp(argv: Sequence[str]) -> list[str]:
    """Write ``--amp`` without a value as ``--amp=auto``.

    As a flag, as MMPretrain has it, it must not swallow the config after it.
    """
    values = ('auto', *PRECISIONS)
    return [
        '--amp=auto' if option == '--amp' and after not in values else option
        for option, after in zip_longest(argv, argv[1:])
    ]


def precision_here(name: str) -> str:
    """The precision that is meant on this machine, ``'fp16'`` or ``'bf16'``.

    Args:
        name: One of these, or ``'auto'``.

    Raises:
        UsageError: If the device cannot do it.
    """
    cuda = torch.cuda.is_available()
    if name == 'auto':
        has_bf16 = not cuda or torch.cuda.is_bf16_supported(including_emulation=False)
        return 'bf16' if has_bf16 else 'fp16'
    if name == 'fp16' and not cuda:
        raise UsageError('--amp fp16: expected a GPU, got none; use --amp bf16')
    return name


def set_precision(optim_wrapper: ConfigDict, name: str) -> None:
    """Train in mixed precision.

    Raises:
        UsageError: If the device cannot do it.
    """
    if precision_here(name) == 'fp16':
        optim_wrapper.type = 'AmpOptimWrapper'
        optim_wrapper.dtype = 'float16'
        optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:
        optim_wrapper.type = 'AutocastOptimWrapper'
        for key in ('dtype', 'loss_scale', 'use_fsdp'):
            optim_wrapper.pop(key, None)
