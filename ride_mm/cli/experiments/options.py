"""What programs that train with several seeds have in common: options, statuses."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from ..errors import UsageError
from ..program import run_main
from ..runs.precision import add_amp_option, precision_here, spell_out_amp
from ..runs.training import COMPILED
from .run import is_free

SOME_FAILED, FAILED = 1, 2
EXIT_STATUS = """\
exit status: 0 all that was asked for is finished; 1 some trainings failed, and the end
of their log says why; 2 the options cannot be followed
"""
# As settings, so that they are of those that leave a result as it is.
COMPILED_OPTIONS = tuple(f'{key}={value}' for key, value in COMPILED.items())


def run_experiments(
    main: Callable[[argparse.Namespace], Mapping[str, str | None]],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
) -> None:
    """Run a program that trains.

    Args:
        main: Returns why each training failed, None if it did not, by name.
        parser: Of its options.
        argv: The options, None for those of the program.

    Raises:
        SystemExit: With status 1 if a training failed, 2 after an error.
    """
    argv = spell_out_amp(sys.argv[1:] if argv is None else argv)
    faults = run_main(main, parser, argv, error_status=FAILED)
    if any(faults.values()):
        sys.exit(SOME_FAILED)


def add_experiment_options(
    parser: argparse.ArgumentParser, folder: str, settings: str
) -> None:
    """Add the options of programs that train with several seeds.

    Args:
        parser: The program's.
        folder: Where all trainings go by default.
        settings: What ``--cfg-options`` takes.
    """
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
    parser.add_argument(
        '--work-dir', help=f'of all trainings (default: work_dirs/{folder})'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        action='extend',
        metavar='KEY=VALUE',
        help=settings,
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


def check_settings(options: Sequence[str]) -> None:
    """Refuse settings without a value.

    Raises:
        UsageError: If one is not ``KEY=VALUE``.
    """
    wrong = [option for option in options if not option.partition('=')[1]]
    if wrong:
        raise UsageError(f'--cfg-options: expected KEY=VALUE, got {wrong[0]}')


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
