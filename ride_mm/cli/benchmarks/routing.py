"""What routing saves in time, as a table: ``tools/benchmarks/routing.py``."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from mmcv.cnn import fuse_conv_bn

from ...analysis.complexity import PartCosts, part_costs
from ...analysis.routing.speed import HALF, RoutingSpeed, measure, whole_samples
from ...analysis.tables import ABSENT, format_percent, format_table
from ...engine.checkpoint_io import (
    load_checkpoint_file,
    model_tensors,
)
from ...engine.hooks.fit_check import misfits, named, without_router
from ...models.classifiers import RIDEClassifier
from ...utils.freed_memory import keep_freed_memory
from ..configs.loading import add_config_options
from ..configs.network import build_model, image_size
from ..errors import UsageError
from ..files import existing_file, write_json
from .common import (
    add_benchmark_options,
    begin,
    check_benchmark_options,
    heading_text,
    machine_heading,
    run_benchmark,
    tell,
)

COLUMNS = (
    'batch',
    'dtype',
    'go on, %',
    'did, %',
    'experts',
    'all experts, images/s',
    'routed, images/s',
    'time',
    'MACs',
    'time saved / MACs saved',
)


def routing_benchmark_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/benchmarks/routing.py``."""
    run_benchmark(benchmark, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Measure the images per second of a model with all experts and of '
        'the same model routed, in turns, on random images, and hold the time saved '
        'against the multiply-adds (MACs) saved',
        allow_abbrev=False,
        prog='routing.py',
    )
    add = parser.add_argument
    add('config', help='path of a config with a RouterHead, or the name of one')
    add('--checkpoint', metavar='FILE', help='weights (default: random ones)')
    add('--batch-sizes', nargs='+', type=int, default=[1, 16, 64, 256], metavar='N')
    add(
        '--continuing',
        nargs='+',
        type=float,
        default=[100, 75, 50, 25, 0],
        metavar='PERCENT',
        help='of the samples that arrive at a router, those that go on to the next '
        'expert, rounded to whole samples',
    )
    add('--dtypes', nargs='+', choices=tuple(HALF), default=list(HALF))
    add(
        '--fuse-conv-bn',
        action='store_true',
        help='fold BatchNorm into the convolutions first, as one would for deployment',
    )
    add(
        '--return-memory',
        action='store_true',
        help='let the C library return freed memory to the system, as it does by '
        'default; else it is kept for the next tensors',
    )
    add_benchmark_options(parser, 5.0, 'each line of the table')
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
    check_options(args)
    device, cfg = begin(args)
    side = (args.shape,) * 2 if args.shape is not None else image_size(cfg)
    model = build_routed(cfg.get('model') or {}, args.config)
    if args.checkpoint is not None:
        load_weights(model, args.checkpoint)
    kept = not args.return_memory and device.type == 'cpu' and keep_freed_memory()
    model = model.to(device).eval()
    shape = (cfg.model.backbone.get('in_channels', 3), *side)
    costs = count_costs(model, shape)
    if args.fuse_conv_bn:
        model = fuse_conv_bn(model)
    speeds = measure_all(model, shape, costs, args, device)
    heading = {
        'config': Path(args.config).stem,
        'weights': args.checkpoint or 'random',
        'images': list(shape),
        **machine_heading(device),
        'BatchNorm': 'folded' if args.fuse_conv_bn else 'as trained',
        'freed memory': 'kept' if kept else 'left to the C library',
        'command': command,
    }
    result = heading | {'macs': asdict(costs), 'cells': [as_dict(s) for s in speeds]}
    print(report(heading, speeds, left_out(args.batch_sizes, args.continuing)))
    write_json(result, args.json)
    return result


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that cannot be followed.

    Raises:
        UsageError: Says which, expected and got.
    """
    for size in args.batch_sizes:
        if size < 1:
            raise UsageError(f'--batch-sizes: expected numbers >= 1, got {size}')
    for percent in args.continuing:
        if not 0 <= percent <= 100:
            raise UsageError(
                f'--continuing: expected percentages from 0 to 100, got {percent:g}'
            )
    check_benchmark_options(args)
    if args.checkpoint is not None:
        existing_file(args.checkpoint, 'a checkpoint')


def build_routed(cfg: dict, name: str) -> RIDEClassifier:
    """Build a config's model, with random weights.

    Args:
        cfg: Config of the model.
        name: Of the config, for errors.

    Raises:
        UsageError: If it has no routers or cannot be built.
    """
    head = (cfg.get('head') or {}).get('type')
    if head != 'RouterHead':
        raise UsageError(
            f'{name}: expected a model with a RouterHead, got the head {head}'
        )
    return build_model(cfg, name)


def load_weights(model: RIDEClassifier, path: str) -> None:
    """Load a checkpoint; of stage one, the routers stay random.

    Raises:
        UsageError: If it does not fit the model.
    """
    weights = named(model_tensors(load_checkpoint_file(path), path))
    expected = model.state_dict()
    if len(weights) == len(without_router(weights)):
        expected = without_router(expected)
    found = misfits(expected, weights)
    if found:
        raise UsageError(f'--checkpoint {path}: {found[0]}')
    model.load_state_dict(weights, strict=False)


def count_costs(model: RIDEClassifier, shape: tuple[int, int, int]) -> PartCosts:
    """Count the multiply-adds of the parts; the first images the model sees.

    Raises:
        UsageError: If it does not take images of that size.
    """
    try:
        return part_costs(model, shape)
    except (RuntimeError, ValueError) as err:
        raise UsageError(
            f'--shape: expected images that the model takes, got {shape}: {err}'
        ) from None


def is_distinct(batch_size: int, percent: float) -> bool:
    """Whether a percentage of a batch is neither none nor all, unless meant so."""
    whole = whole_samples(batch_size, percent / 100)
    return percent in (0, 100) or 0 < whole < batch_size


def left_out(batch_sizes: Sequence[int], continuing: Sequence[float]) -> list[str]:
    """Tell what is not measured, for it rounds to none or all of a batch's samples."""
    notes = []
    for size in batch_sizes:
        percents = [f'{p:g}' for p in continuing if not is_distinct(size, p)]
        if percents:
            notes.append(
                f'Batch {size} without {", ".join(percents)} %: of so few samples that '
                'is none or all.'
            )
    return notes


def measure_all(
    model: RIDEClassifier,
    shape: tuple[int, int, int],
    costs: PartCosts,
    args: argparse.Namespace,
    device: torch.device,
) -> list[RoutingSpeed]:
    """Measure each precision, batch size and share, with a line of progress each."""
    cells = [
        (dtype, size, percent)
        for dtype in args.dtypes
        for size in args.batch_sizes
        for percent in args.continuing
        if is_distinct(size, percent)
    ]
    speeds = []
    for number, (dtype, size, percent) in enumerate(cells, start=1):
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(size, *shape, generator=generator).to(device)
        speed = measure(model, images, percent / 100, dtype, args.seconds, costs)
        speeds.append(speed)
        tell(
            f'[{number}/{len(cells)}] {dtype}, batch {size}, {percent:g} % go on: '
            f'time {speed.time_ratio:.3f}, MACs {speed.macs_ratio:.3f}'
        )
    return speeds


def as_dict(speed: RoutingSpeed) -> dict:
    """All that is known of a measurement, in plain numbers."""
    derived = ('obtained', 'mean_experts', 'saved')
    return asdict(speed) | {name: getattr(speed, name) for name in derived}


def report(
    heading: dict, speeds: Sequence[RoutingSpeed], notes: Sequence[str] = ()
) -> str:
    """Lay out a heading, the table in Markdown and the notes.

    ``time`` and ``MACs`` are those of the routed model over those with all experts.
    """
    images = ' x '.join(map(str, heading['images']))
    heading = heading_text(heading | {'images': images})
    rows = [
        (
            str(speed.batch_size),
            speed.dtype,
            f'{100 * speed.share:g}',
            format_percent(100 * speed.obtained),
            f'{speed.mean_experts:.2f}',
            f'{speed.batch_size / speed.seconds_all:.0f}',
            f'{speed.batch_size / speed.seconds_routed:.0f}',
            f'{speed.time_ratio:.3f}',
            f'{speed.macs_ratio:.3f}',
            ABSENT if speed.saved is None else f'{speed.saved:.2f}',
        )
        for speed in speeds
    ]
    parts = [heading, format_table(COLUMNS, rows), '\n'.join(notes)]
    return '\n\n'.join(part for part in parts if part)
