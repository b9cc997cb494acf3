"""The speed of training, by parts and side by side: ``tools/benchmarks/train.py``."""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch._inductor.config as inductor
from mmengine.config import Config

from ...analysis.speed import PARTS, peak_memory, time_operators, time_parts
from ...analysis.tables import ABSENT, format_table
from ...analysis.timing import time_in_turns
from ...utils.freed_memory import keep_freed_memory
from ..configs.checks import check_settings
from ..configs.loading import add_config_options
from ..configs.network import image_size
from ..configs.options import OptionsAction, merge_options
from ..errors import UsageError
from ..files import write_json
from .common import (
    add_benchmark_options,
    begin,
    check_benchmark_options,
    heading_text,
    machine_heading,
    rounds_note,
    run_benchmark,
    tell,
)
from .train_candidates import Candidate, from_data, from_random_images

ALL_PARTS = ('data', *PARTS, 'framework')
COLUMNS = ('', 'images/s', 'ms', 'speed', *(f'{p}, %' for p in ALL_PARTS), 'peak, MB')
DTYPES = ('fp32', 'bf16')
ROUNDS_OF_PARTS = 5
OPERATOR_COLUMNS = ('', 'operator', 'ms', 'of all, %', 'calls')


def train_benchmark_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/benchmarks/train.py``."""
    run_benchmark(benchmark, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Measure training steps in turns: images per second, the shares of '
        'data, forward and backward pass, optimizer and framework, and the peak of '
        'memory',
        allow_abbrev=False,
        prog='train.py',
    )
    add = parser.add_argument
    add('config', help='path of a config, or the name of a shipped one')
    add(
        '--against',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='measure the config with these settings beside it, on top of '
        '--cfg-options',
    )
    add(
        '--reference',
        metavar='DIR',
        help="measure the authors' code beside it, from a checkout of "
        'https://github.com/frank-xwang/RIDE-LongTailRecognition; speeds are then '
        'relative to it',
    )
    add(
        '--with-data',
        action='store_true',
        help="also measure tools/train.py, and a bare loop, on the config's data set; "
        'else images are random and stay where they are',
    )
    add('--batch-size', type=int, metavar='N', help="(default: the config's)")
    add('--dtypes', nargs='+', choices=DTYPES, default=['fp32'])
    add(
        '--operators',
        type=int,
        default=0,
        metavar='N',
        help="also tell the N operators that take longest in each step, by PyTorch's "
        'profiler',
    )
    add(
        '--return-memory',
        action='store_true',
        help='let the C library return freed memory to the system, as tools/train.py '
        'does not',
    )
    add_benchmark_options(parser, 20.0, 'each precision')
    add_config_options(parser)
    return parser


def benchmark(args: argparse.Namespace, command: str) -> dict:
    """Measure as the options say and print a table.

    Args:
        args: The options.
        command: What the user called.

    Returns:
        All that was measured, as it is written to ``--json``.

    Raises:
        UsageError: If the options or the config cannot be followed.
    """
    check_benchmark_options(args)
    if args.batch_size is not None and args.batch_size < 2:
        raise UsageError(f'--batch-size: expected a number >= 2, got {args.batch_size}')
    if args.operators < 0:
        raise UsageError(f'--operators: expected a number >= 0, got {args.operators}')
    device, cfg = begin(args)
    if cfg.get('train_dataloader') is None:
        raise UsageError(f'{args.config}: expected a config for training')
    if args.batch_size is not None:
        cfg.train_dataloader.batch_size = args.batch_size
    settings = {Path(args.config).stem: cfg}
    if args.against:
        other = Config(cfg.to_dict())
        merge_options(other, args.against, '--against')
        check_settings(other)
        settings[' '.join(f'{k}={v}' for k, v in args.against.items())] = other
    side = (args.shape,) * 2 if args.shape is not None else image_size(cfg)
    candidates = []
    for dtype in args.dtypes:
        candidates += from_random_images(settings, dtype, side, device, args.reference)
        if args.with_data:
            candidates += from_data(settings, dtype, device)
    seconds = args.seconds * len(args.dtypes)
    # Else compiled code would be a single operator.
    with inductor.patch({'cpp.enable_kernel_profile': args.operators > 0}):
        rows = measure(candidates, seconds, device, args.return_memory)
    if args.operators:
        look_into(candidates, rows, device, args.operators)
    for candidate in candidates:
        candidate.close()
    heading = {
        'images': f'{side[0]} x {side[1]}',
        'batch size': cfg.train_dataloader.batch_size,
        **machine_heading(device),
        'freed memory': 'left to the C library' if args.return_memory else 'kept',
        'command': command,
    }
    result = heading | {'rows': rows}
    table = format_table(COLUMNS, [cells(row) for row in rows])
    print(f'{heading_text(heading)}\n\n{table}')
    print(f'\n{rounds_note(rows, "the first row")}')
    if args.operators:
        operators = [line for row in rows for line in operator_cells(row)]
        print(f'\n{format_table(OPERATOR_COLUMNS, operators)}')
    write_json(result, args.json)
    return result


def measure(
    candidates: Sequence[Candidate],
    seconds: float,
    device: torch.device,
    return_memory: bool,
) -> list[dict]:
    """Measure what can be trained, in turns.

    Memory comes first, for on a CPU it is only seen while freed memory goes back. The
    parts come last, for on a GPU to wait after each slows a step down.

    Args:
        candidates: The first is the one that ``speed`` compares with.
        seconds: How long to measure, all together.
        device: Where they compute.
        return_memory: Whether freed memory goes back to the system.

    Returns:
        For each: its name, precision, images per second, seconds, speed over that of
        the first (the median of the rounds' ratios), seconds of its parts, and bytes.
    """
    peaks = []
    for number, one in enumerate(candidates, start=1):
        tell(f'[{number}/{len(candidates)}] first steps: {one.name}, {one.dtype}')
        peaks.append(peak_memory(one.step, device))
    tell(f'Measuring in turns for {seconds:g} s or more')
    if device.type == 'cpu' and not return_memory:
        keep_freed_memory()
    rounds = time_in_turns([one.step for one in candidates], seconds, device)
    rows = []
    for i, (one, peak) in enumerate(zip(candidates, peaks, strict=True)):
        taken = statistics.median(times[i] for times in rounds)
        parts = time_parts(one.parts, ROUNDS_OF_PARTS, device) if one.parts else {}
        if one.fetch is not None:
            parts['data'] = time_in_turns([one.fetch], 0.0, device)[0][0]
        if one.inner is not None:
            inner = candidates.index(one.inner)
            parts['framework'] = statistics.median(t[i] - t[inner] for t in rounds)
        rows.append(
            dict(
                name=one.name,
                dtype=one.dtype,
                images_per_second=one.batch_size / taken,
                seconds=taken,
                speed=statistics.median(times[0] / times[i] for times in rounds),
                parts=parts,
                peak_bytes=peak,
                rounds=len(rounds),
            )
        )
    return rows


def look_into(
    candidates: Sequence[Candidate],
    rows: Sequence[dict],
    device: torch.device,
    number: int,
) -> None:
    """Add the most expensive operators of each candidate's step to its row."""
    for one, row in zip(candidates, rows, strict=True):
        found = time_operators(one.step, ROUNDS_OF_PARTS, device)
        row['operators'] = [asdict(operator) for operator in found[:number]]


def operator_cells(row: dict) -> list[tuple[str, ...]]:
    """Lay out the operators of one step."""
    return [
        (
            f'{row["name"]}, {row["dtype"]}',
            one['name'],
            f'{1e3 * one["seconds"]:.1f}',
            f'{100 * one["share"]:.1f}',
            f'{one["calls"]:g}',
        )
        for one in row['operators']
    ]


def cells(row: dict) -> tuple[str, ...]:
    """Lay out one line of the table; shares are of the time of its own step."""
    shares = [row['parts'].get(part) for part in ALL_PARTS]
    peak = row['peak_bytes']
    return (
        f'{row["name"]}, {row["dtype"]}',
        f'{row["images_per_second"]:.0f}',
        f'{1e3 * row["seconds"]:.1f}',
        f'{row["speed"]:.2f}x',
        *(ABSENT if s is None else f'{100 * s / row["seconds"]:.1f}' for s in shares),
        ABSENT if peak is None else f'{peak / 2**20:.0f}',
    )
