"""What the benchmarks have in common: options, device and precisions."""

import argparse
import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ...utils.machine import machine_name
from ..configs.loading import load_config
from ..devices import pick_device
from ..errors import UsageError
from ..files import check_outputs
from ..program import run_main

FEW_ROUNDS = 10


def run_benchmark(
    benchmark: Callable[[argparse.Namespace, str], object],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
) -> None:
    """Run a program of ``tools/benchmarks/``.

    Args:
        benchmark: Gets the options and the command that the user called.
        parser: Of the options, with the program's name.
        argv: The options, None for those of the program.
    """
    argv = sys.argv[1:] if argv is None else argv
    command = shlex.join(['python', f'tools/benchmarks/{parser.prog}', *argv])
    run_main(lambda args: benchmark(args, command), parser, argv)


def add_benchmark_options(
    parser: argparse.ArgumentParser, seconds: float, what: str, images: bool = True
) -> None:
    """Add the options of a benchmark that computes.

    Args:
        parser: The tool's.
        seconds: How long to measure by default.
        what: Is measured for so long, for the help.
        images: Whether it takes images, of which there is a size.
    """
    add = parser.add_argument
    add('--device', choices=('auto', 'cpu', 'cuda'), default='auto')
    add('--threads', type=int, metavar='N', help="of the CPU (default: PyTorch's)")
    add(
        '--seconds',
        type=float,
        default=seconds,
        help=f'how long to measure {what} (default: {seconds:g})',
    )
    if images:
        add(
            '--shape',
            type=int,
            metavar='PIXELS',
            help="side of the images (default: the config's crop)",
        )
    add('--json', metavar='FILE', help='write all that was measured as JSON')


def check_benchmark_options(args: argparse.Namespace) -> None:
    """Refuse options of :func:`add_benchmark_options` that cannot be followed.

    Raises:
        UsageError: Says which, expected and got.
    """
    for name, least in (('threads', 1), ('shape', 1)):
        value = getattr(args, name, None)
        if value is not None and value < least:
            raise UsageError(f'--{name}: expected a number >= {least}, got {value}')
    if not 0 < args.seconds < math.inf:
        raise UsageError(f'--seconds: expected a number > 0, got {args.seconds:g}')
    check_outputs({'--json': args.json}, inputs=[getattr(args, 'checkpoint', None)])


def begin(args: argparse.Namespace) -> tuple[torch.device, Config]:
    """Find the device, set the threads and read the config.

    Raises:
        UsageError: If the options cannot be followed.
    """
    device = pick_device(args.device)
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    return device, cfg


def tell(message: str) -> None:
    """Say how far it is, beside the table that is the output."""
    print(message, file=sys.stderr, flush=True)


def machine_heading(device: torch.device) -> dict[str, object]:
    """What computes, for the heading of a table."""
    return {
        'machine': machine_name(device),
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
    }


def heading_text(heading: Mapping[str, object]) -> str:
    """Lay out a heading, a line for each entry."""
    return '\n'.join(f'{name}: {value}' for name, value in heading.items())


def rounds_note(rows: Sequence[dict], first: str) -> str:
    """Say how the speeds of a table of ``rounds`` come about, and if these are few.

    Args:
        rows: Of the table.
        first: What the speeds are relative to.
    """
    rounds = min(row['rounds'] for row in rows)
    note = (
        f'speed: relative to {first}, the median of the ratios within each of {rounds} '
        'rounds or more, not the ratio of the medians beside it'
    )
    few = '; so few rounds tell little: raise --seconds'
    return note + few if rounds < FEW_ROUNDS else note
