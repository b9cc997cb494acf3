"""What a V-MoE's routers do: ``tools/analysis_tools/vmoe_routing.py``."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ...analysis.experts import (
    CapacityPoint,
    LayerRouting,
    capacity_sweep,
    moe_layers,
    plot_capacity,
    plot_experts_by_class,
    plot_load,
    record_routing,
)
from ...analysis.tables import format_table
from ...utils.progress import progress_bar
from ..configs.loading import add_config_options, load_config
from ..errors import UsageError
from ..files import write_json
from ..program import run_main, say
from .frozen_model import (
    add_model_options,
    batches_of,
    frozen_model,
    labelled_images,
    labels_of,
)

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def vmoe_routing_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/analysis_tools/vmoe_routing.py``."""
    run_main(vmoe_routing, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Which experts of a V-MoE see which classes, how even their load '
        'is, which tokens find no room, and accuracy against that room.',
        allow_abbrev=False,
        prog='vmoe_routing.py',
    )
    add_model_options(parser)
    parser.add_argument(
        '--data',
        choices=('test', 'val', 'train'),
        default='test',
        help="labelled images: one of the config's data sets, in the pipeline of the "
        'test (default: test)',
    )
    parser.add_argument(
        '--capacity',
        nargs='*',
        type=float,
        default=list(FACTORS),
        metavar='F',
        help='capacity factors to test with, each without and with batch priority; '
        f'none without a number (default: {" ".join(map(str, FACTORS))})',
    )
    parser.add_argument(
        '--out-dir',
        metavar='FOLDER',
        help='where figures and routing.json go (default: '
        'work_dirs/CONFIG/vmoe_routing)',
    )
    add_config_options(parser)
    return parser


def vmoe_routing(args: argparse.Namespace) -> list[LayerRouting]:
    """Record, sweep, draw and report as the options say.

    Returns:
        What each layer did, with the room that the config gives.

    Raises:
        UsageError: If the options cannot be followed.
    """
    wrong = [f for f in args.capacity if not 0 < f < float('inf')]
    if wrong:
        raise UsageError(f'--capacity: expected numbers > 0, got {wrong[0]}')
    cfg = load_config(args)
    folder = Path(args.out_dir or Path(cfg.work_dir) / 'vmoe_routing')
    if folder.exists() and not folder.is_dir():
        raise UsageError(f'--out-dir: expected a folder, got the file {folder}')
    dataset = labelled_images(cfg, args.data)
    labels_of(dataset)  # Refuses images of several classes.
    names = list(dataset.CLASSES)
    model = frozen_model(cfg, args)
    moe_layers(model)  # Refuses other models before anything is computed.
    factors = sorted(set(args.capacity))
    queues = hasattr(next(iter(moe_layers(model).values())).router, 'batch_priority')
    passes = 1 + len(factors) * (1 + queues)
    with progress_bar('Images', passes * len(dataset)) as advance:
        layers, accuracy = record_routing(
            model, batches_of(dataset, args), len(names), advance
        )
        points = capacity_sweep(
            model, lambda: batches_of(dataset, args), len(names), factors, advance
        )
    report(layers, points, accuracy, len(dataset), args)
    folder.mkdir(parents=True, exist_ok=True)
    plot_experts_by_class(layers, folder / 'experts_by_class.png', names)
    plot_load(layers, folder / 'load.png')
    if points:
        plot_capacity(points, folder / 'capacity.png')
    content = content_of(layers, points, accuracy, names, args)
    write_json(content, folder / 'routing.json')
    say(f'\nFigures and routing.json: {folder}')
    return layers


def report(
    layers: Sequence[LayerRouting],
    points: Sequence[CapacityPoint],
    accuracy: float,
    images: int,
    args: argparse.Namespace,
) -> None:
    """Print the tables."""
    say(
        f'{Path(args.config).stem}: {images:,} {args.data} images, accuracy '
        f'{accuracy:.2f} %\n'
    )
    columns = ('layer', 'experts', 'load max / mean', 'min / mean')
    columns += ('no room (%)', 'no expert (%)', 'room used (%)', 'class (bits)')
    rows = [
        (
            layer.name,
            str(len(layer.load)),
            f'{layer.load.max():.2f}',
            f'{layer.load.min():.2f}',
            f'{100 * layer.dropped:.2f}',
            f'{100 * layer.passed_by:.2f}',
            f'{100 * layer.filled:.1f}',
            f'{layer.information:.2f}',
        )
        for layer in layers
    ]
    say(format_table(columns, rows))
    if points:
        columns = ('capacity factor', 'priority', 'accuracy (%)')
        columns += ('no room (%)', 'no expert (%)')
        rows = [
            (
                f'{point.factor:g}',
                'yes' if point.batch_priority else 'no',
                f'{point.accuracy:.2f}',
                f'{100 * point.dropped:.2f}',
                f'{100 * point.passed_by:.2f}',
            )
            for point in points
        ]
        say(f'\n{format_table(columns, rows)}')


def content_of(
    layers: Sequence[LayerRouting],
    points: Sequence[CapacityPoint],
    accuracy: float,
    names: Sequence[str],
    args: argparse.Namespace,
) -> dict:
    """What is written as JSON."""
    return dict(
        config=args.config,
        checkpoint=args.checkpoint,
        options=args.cfg_options,
        data=args.data,
        batch_size=args.batch_size,
        accuracy=accuracy,
        classes=list(names),
        layers=[
            dict(
                name=layer.name,
                load=layer.load.tolist(),
                dropped=float(layer.dropped),
                passed_by=float(layer.passed_by),
                filled=float(layer.filled),
                information=layer.information,
                asked=layer.asked.tolist(),
                kept=layer.kept.tolist(),
                tokens=layer.tokens.tolist(),
                alone=layer.alone.tolist(),
            )
            for layer in layers
        ],
        capacity=[asdict(point) for point in points],
    )
