"""The speed of a layer of experts, side by side: ``tools/benchmarks/vmoe.py``."""

import argparse
import itertools
import re
from collections.abc import Sequence
from dataclasses import asdict

import torch

from ...analysis.experts import PASSES, SIZES, LayerSize, LayerSpeed, measure_layer
from ...analysis.experts.speed import NAMES
from ...analysis.routing.speed import HALF
from ...analysis.tables import format_table
from ...models.layers.moe import expert_capacity
from ...utils.freed_memory import keep_freed_memory
from ..devices import pick_device
from ..errors import UsageError
from ..files import write_json
from .common import (
    add_benchmark_options,
    check_benchmark_options,
    heading_text,
    machine_heading,
    run_benchmark,
    tell,
)

COLUMNS = (
    *('size', 'experts', 'k', 'capacity', 'precision', 'pass'),
    *('layer, tokens/s', 'loop', 'dense', 'time / loop', 'time / dense'),
    *('experts of a token', 'difference'),
)


def vmoe_benchmark_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/benchmarks/vmoe.py``."""
    run_benchmark(benchmark, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Measure in turns the tokens per second of a layer of experts, of '
        'a plain loop over the same experts with the same results, and of a dense MLP '
        'with the multiply-adds that the experts do for the tokens they take, on '
        'random tokens with random weights',
        allow_abbrev=False,
        prog='vmoe.py',
    )
    add = parser.add_argument
    add(
        '--sizes',
        nargs='+',
        default=list(SIZES),
        metavar='SIZE',
        help=f'{", ".join(SIZES)}, or CHANNELSxHIDDENxTOKENS of an image, such as '
        f'768x3072x197 (default: {" ".join(SIZES)})',
    )
    add('--images', type=int, default=8, metavar='N', help='in a batch (default: 8)')
    add('--experts', nargs='+', type=int, default=[4, 8, 16], metavar='E')
    add(
        '--selected',
        nargs='+',
        type=int,
        default=[1, 2],
        metavar='K',
        help='experts of a token; more than there are is left out',
    )
    add('--capacity', nargs='+', type=float, default=[0.5, 1.05, 2.0], metavar='F')
    add('--dtypes', nargs='+', choices=tuple(HALF), default=['fp32'])
    add('--passes', nargs='+', choices=PASSES, default=list(PASSES))
    add_benchmark_options(parser, 2.0, 'each line of the table', images=False)
    parser.set_defaults(local_rank=0)  # Of one process.
    return parser


def benchmark(args: argparse.Namespace, command: str) -> dict:
    """Measure as the options say and print a table.

    Args:
        args: The options.
        command: What the user called.

    Returns:
        All that was measured, as it is written to ``--json``.

    Raises:
        UsageError: If the options cannot be followed.
    """
    check_benchmark_options(args)
    sizes = {name: size_named(name) for name in args.sizes}
    check_settings(args, sizes)
    device = pick_device(args.device)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    if device.type == 'cpu':
        keep_freed_memory()
    settings = [
        setting
        for setting in itertools.product(
            sizes, args.experts, args.selected, args.capacity, args.dtypes, args.passes
        )
        if setting[2] <= setting[1]
    ]
    rows = []
    for number, values in enumerate(settings, start=1):
        name, experts, selected, factor, dtype, which = values
        speed = measure_layer(
            sizes[name],
            args.images,
            experts,
            dict(num_selected=selected, capacity_factor=factor),
            which,
            HALF[dtype],
            args.seconds,
            device,
        )
        setting = dict(
            size=name,
            experts=experts,
            selected=selected,
            capacity=factor,
            dtype=dtype,
            which=which,
        )
        rows.append(setting | figures(speed, args.images * sizes[name].tokens))
        say = ', '.join(f'{k} {v}' for k, v in setting.items() if k != 'which')
        tell(
            f'[{number}/{len(settings)}] {say}, {which}: {speed.over_loop:.2f} of '
            f"the loop's time, {speed.over_dense:.2f} of the dense MLP's"
        )
    heading = {
        'images': args.images,
        **machine_heading(device),
        'command': command,
    }
    result = heading | {'rows': rows}
    table = format_table(COLUMNS, [_cells(row) for row in rows])
    print(f'{heading_text(heading)}\n\n{table}')
    write_json(result, args.json)
    return result


def size_named(name: str) -> LayerSize:
    """The sizes of a name or of three numbers.

    Raises:
        UsageError: If it is neither.
    """
    if name in SIZES:
        return SIZES[name]
    match = re.fullmatch(r'([1-9]\d*)x([1-9]\d*)x([1-9]\d*)', name)
    if match is None:
        raise UsageError(
            f'--sizes: expected {", ".join(SIZES)} or CHANNELSxHIDDENxTOKENS, such as '
            f'768x3072x197, got {name!r}'
        )
    return LayerSize(*map(int, match.groups()))


def check_settings(args: argparse.Namespace, sizes: dict[str, LayerSize]) -> None:
    """Refuse numbers of images, experts and selected ones, and a capacity below one.

    Raises:
        UsageError: Says which, expected and got.
    """
    for name in ('images', 'experts', 'selected'):
        values = getattr(args, name)
        for value in values if isinstance(values, list) else [values]:
            if value < 1:
                raise UsageError(f'--{name}: expected numbers >= 1, got {value}')
    if min(args.selected) > max(args.experts):
        raise UsageError(
            f'--selected: expected at most --experts {max(args.experts)}, got '
            f'{min(args.selected)}'
        )
    for size, experts, factor in itertools.product(
        sizes.values(), args.experts, args.capacity
    ):
        if not factor > 0:
            raise UsageError(f'--capacity: expected numbers > 0, got {factor:g}')
        try:
            expert_capacity(size.tokens * min(args.selected), experts, factor)
        except ValueError as err:
            raise UsageError(f'--capacity: {err}') from None


def figures(speed: LayerSpeed, tokens: int) -> dict:
    """What is told of a measurement, tokens per second too."""
    rates = (tokens / seconds for seconds in speed.seconds)
    return asdict(speed) | {
        f'{name}_tokens_per_second': rate
        for name, rate in zip(NAMES, rates, strict=True)
    }


def _cells(row: dict) -> tuple[str, ...]:
    return (
        row['size'],
        str(row['experts']),
        str(row['selected']),
        f'{row["capacity"]:g}',
        row['dtype'],
        row['which'],
        *(f'{row[f"{name}_tokens_per_second"]:.0f}' for name in NAMES),
        f'{row["over_loop"]:.2f}',
        f'{row["over_dense"]:.2f}',
        f'{row["kept"]:.2f}',
        f'{row["difference"]:.0e}',
    )
