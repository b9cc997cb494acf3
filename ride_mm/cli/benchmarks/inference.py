"""The speed of inference, side by side: ``tools/benchmarks/inference.py``."""

import argparse
import copy
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.config import Config
from torch import Tensor, nn

from ...analysis.routing.speed import HALF
from ...analysis.speed import peak_memory, reference_model
from ...analysis.tables import ABSENT, format_table
from ...analysis.timing import time_in_turns
from ...models.classifiers import RIDEClassifier
from ...models.compiled import compile_for_inference
from ...utils.freed_memory import keep_freed_memory
from ..configs.loading import add_config_options
from ..configs.network import build_model, image_size
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

COLUMNS = ('batch', '', 'images/s', 'ms', 'speed', 'difference', 'peak, MB')
OURS = ('ride_mm', 'ride_mm, BatchNorm folded', 'ride_mm, compiled')


def inference_benchmark_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/benchmarks/inference.py``."""
    run_benchmark(benchmark, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Measure in turns how fast the logits of all experts are computed, '
        'with BatchNorm as trained, folded into the convolutions, and compiled, on '
        'random images with random weights',
        allow_abbrev=False,
        prog='inference.py',
    )
    add = parser.add_argument
    add('config', help='path of a config, or the name of a shipped one')
    add('--batch-sizes', nargs='+', type=int, default=[1, 128], metavar='N')
    add('--dtypes', nargs='+', choices=tuple(HALF), default=['fp32'])
    add(
        '--reference',
        metavar='DIR',
        help="measure the authors' code beside it, with weights of its own, from a "
        'checkout of https://github.com/frank-xwang/RIDE-LongTailRecognition; speeds '
        'are then relative to it',
    )
    add(
        '--compile',
        action='store_true',
        help='also measure the compiled network; compiling takes about 20 seconds '
        'for each batch size and precision',
    )
    add_benchmark_options(parser, 10.0, 'each batch size and precision')
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
    for size in args.batch_sizes:
        if size < 1:
            raise UsageError(f'--batch-sizes: expected numbers >= 1, got {size}')
    device, cfg = begin(args)
    side = (args.shape,) * 2 if args.shape is not None else image_size(cfg)
    models = build_models(cfg, args.config, args.reference, device, args.compile)
    channels = cfg.model.backbone.get('in_channels', 3)
    generator = torch.Generator().manual_seed(0)
    batches = [
        torch.randn(size, channels, *side, generator=generator).to(device)
        for size in args.batch_sizes
    ]
    calls = [logits_of(models, images, args.dtypes) for images in batches]
    # Memory first: it is only seen while freed memory goes back to the system.
    peaks = []
    for size, some in zip(args.batch_sizes, calls, strict=True):
        tell(f'first batches of {size}')
        peaks.append([peak_memory(call, device) for call in some.values()])
    if device.type == 'cpu':
        keep_freed_memory()
    seconds = args.seconds * len(args.dtypes)
    rows = []
    for size, some, peak in zip(args.batch_sizes, calls, peaks, strict=True):
        tell(f'measuring batches of {size} in turns for {seconds:g} s or more')
        rows += measure(some, size, peak, seconds, device)
    heading = {
        'images': f'{channels} x {side[0]} x {side[1]}',
        **machine_heading(device),
        'command': command,
    }
    result = heading | {'rows': rows}
    table = format_table(COLUMNS, [_cells(row) for row in rows])
    print(f'{heading_text(heading)}\n\n{table}')
    print(f'\n{rounds_note(rows, "the first row of its batch size")}')
    write_json(result, args.json)
    return result


def build_models(
    cfg: Config,
    name: str,
    reference: str | None,
    device: torch.device,
    compiled: bool,
) -> dict[str, nn.Module]:
    """Build the models by name, in eval mode.

    Raises:
        UsageError: If one cannot be built.
    """
    models = {}
    if reference is not None:
        try:
            theirs = reference_model(reference, cfg.model).to(device).eval()
        except ValueError as err:
            raise UsageError(f'--{err}') from None
        models["the authors' code"] = theirs
    torch.manual_seed(0)
    model = build_model(cfg.get('model') or {}, name).to(device).eval()
    ours = [model, fuse_conv_bn(copy.deepcopy(model))]
    if compiled:
        ours.append(copy.deepcopy(model))
        try:
            compile_for_inference(ours[-1])
        except ValueError as err:
            raise UsageError(f'--{err}') from None
    return models | dict(zip(OURS, ours, strict=False))


def logits_of(
    models: dict[str, nn.Module], images: Tensor, dtypes: Sequence[str]
) -> dict[tuple[str, str], Callable[[], Tensor]]:
    """Functions that compute the mean logits of all experts, (N, C).

    Args:
        models: By name.
        images: (N, 3, H, W).
        dtypes: Precisions, keys of ``HALF``.

    Returns:
        A function for each precision and model, by name and precision.
    """

    def call(model: nn.Module, half: torch.dtype | None) -> Tensor:
        with (
            torch.no_grad(),
            torch.autocast(images.device.type, half, enabled=half is not None),
        ):
            if isinstance(model, RIDEClassifier):
                return model.head(model.extract_feat(images))
            return model(images)

    return {
        (name, dtype): partial(call, model, HALF[dtype])
        for dtype in dtypes
        for name, model in models.items()
    }


def measure(
    calls: dict[tuple[str, str], Callable[[], Tensor]],
    batch_size: int,
    peaks: Sequence[int | None],
    seconds: float,
    device: torch.device,
) -> list[dict]:
    """Time the functions in turns.

    Args:
        calls: Of :func:`logits_of`; ``speed`` compares with the first.
        batch_size: N.
        peaks: Bytes that each needs.
        seconds: How long to measure, all together.
        device: Where they compute.

    Returns:
        For each: its name and precision, images per second, seconds, speed (the median
        of the rounds' ratios) and the largest difference of our logits to those of the
        plain network in the same precision, relative to the largest of these; None for
        other weights.
    """
    rounds = time_in_turns(list(calls.values()), seconds, device)
    rows = []
    for i, ((name, dtype), call) in enumerate(calls.items()):
        taken = statistics.median(times[i] for times in rounds)
        expected = calls[OURS[0], dtype]().float()
        difference = (call().float() - expected).abs().max() / expected.abs().max()
        rows.append(
            dict(
                name=name,
                dtype=dtype,
                batch_size=batch_size,
                images_per_second=batch_size / taken,
                seconds=taken,
                speed=statistics.median(times[0] / times[i] for times in rounds),
                difference=difference.item() if name in OURS else None,
                peak_bytes=peaks[i],
                rounds=len(rounds),
            )
        )
    return rows


def _cells(row: dict) -> tuple[str, ...]:
    difference, peak = row['difference'], row['peak_bytes']
    return (
        str(row['batch_size']),
        f'{row["name"]}, {row["dtype"]}',
        f'{row["images_per_second"]:.0f}',
        f'{1e3 * row["seconds"]:.1f}',
        f'{row["speed"]:.2f}x',
        ABSENT if difference is None else f'{difference:.0e}',
        ABSENT if peak is None else f'{peak / 2**20:.0f}',
    )
