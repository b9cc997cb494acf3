"""Options and exit statuses of programs that train with several seeds."""

import argparse
from collections.abc import Sequence

from ..errors import UsageError
from ..runs.precision import add_amp_option, precision_here
from ..runs.training import COMPILED
from .run import is_free

SOME_FAILED, FAILED = 1, 2
# As settings, so that they are of those that leave a result as it is.
COMPILED_OPTIONS = tuple(f'{key}={value}' for key, value in COMPILED.items())


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--seeds``, ``--jobs``, ``--amp`` and ``--compile``."""
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=int,
        default=[0, 1, 2],
        metavar='SEED',
        help='(default: 0 1 2)',
    )
    parser.add_argument(
        '--jobs', type=int, metavar='N', help='trainings that run at once'
    )
    add_amp_option(parser)
    parser.add_argument(
        '--compile', action='store_true', help='compile the backbone, as train.py does'
    )
    parser.set_defaults(local_rank=0)


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that are none.

    Raises:
        UsageError: If one is negative, too large, or there twice.
    """
    wrong = [seed for seed in seeds if not 0 <= seed < 2**32]
    if wrong:
        raise UsageError(f'--seeds: expected numbers from 0 to 2^32 - 1, got {wrong}')
    if len(set(seeds)) < len(seeds):
        raise UsageError(f'--seeds: expected each once, got {list(seeds)}')


def free_options(args: argparse.Namespace) -> list[str]:
    """Settings that leave a result as it is: of ``--compile`` and ``--cfg-options``."""
    compiled = COMPILED_OPTIONS if args.compile else ()
    return [*compiled, *filter(is_free, args.cfg_options)]


def amp_options(args: argparse.Namespace) -> list[str]:
    """``--amp`` for ``tools/train.py``, with the precision it means on this machine.

    Raises:
        UsageError: If the device cannot do it.
    """
    return [] if args.amp is None else ['--amp', precision_here(args.amp)]
