"""The cost of a config's model as a table: ``tools/analysis_tools/get_flops.py``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.registry import init_default_scope

from ...analysis.complexity import PartCosts, part_costs, part_parameters
from ...analysis.plain_network import plain_complexity
from ...analysis.tables import ABSENT, format_count, format_table
from ..configs.loading import add_config_options, load_config
from ..configs.network import build_model, image_size
from ..errors import UsageError
from ..program import run_main

COLUMNS = ('', 'parameters', 'MACs', 'of plain')


def flops_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/analysis_tools/get_flops.py``."""
    run_main(lambda args: print(flops_report(args)), make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Count parameters and multiply-adds (MACs) of convolutions and '
        'matrix products for one image: of the trunk, each expert, each router, and '
        'the plain network (one expert of full width)',
        allow_abbrev=False,
        prog='get_flops.py',
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    parser.add_argument(
        '--shape',
        nargs='+',
        type=int,
        metavar='PIXELS',
        help="side of an image, or height and width (default: the config's crop)",
    )
    parser.add_argument(
        '--usage',
        metavar='PERCENT,...',
        help='percentages of images that use 1, 2, ... experts, such as '
        '40.99,9.47,49.54: adds the mean cost of an image',
    )
    add_config_options(parser)
    return parser


def flops_report(args: argparse.Namespace) -> str:
    """Lay out the cost of the model that the options name.

    Returns:
        A heading and a table in Markdown.

    Raises:
        UsageError: If the options or the config cannot be followed.
    """
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    size = image_size(cfg) if args.shape is None else _given_size(args.shape)
    model = build_model(cfg.get('model') or {}, args.config)
    shape = (cfg.model.backbone.get('in_channels', 3), *size)
    shares = None if args.usage is None else parse_usage(args.usage, model.num_experts)
    try:
        macs, parameters = part_costs(model, shape), part_parameters(model, shape)
        plain = plain_complexity(cfg.model, shape)
    except (AssertionError, RuntimeError, ValueError) as err:
        raise UsageError(
            f'--shape: expected images that the model takes, got {_times(shape)}: {err}'
        ) from None
    lines = cost_rows(parameters, macs)
    lines.append(('plain network', *plain))
    if shares is not None:
        name = f'mean of {"/".join(f"{100 * share:.4g}" for share in shares)} %'
        lines.append((name, None, macs.mean(shares)))
    rows = [
        (
            name,
            ABSENT if count is None else format_count(count),
            format_count(round(cost)),
            f'{cost / plain[1]:.3f}x',
        )
        for name, count, cost in lines
    ]
    table = format_table(COLUMNS, rows)
    return f'{Path(args.config).stem}, images of {_times(shape)}\n\n{table}'


def cost_rows(
    parameters: PartCosts, macs: PartCosts
) -> list[tuple[str, int | None, float]]:
    """Name each part with its parameters and multiply-adds.

    Returns:
        Rows of trunk, experts, routers, all experts, and, with routers, of an image
        that uses 1 to E experts.
    """
    rows = [('trunk', parameters.trunk, macs.trunk)]
    for kind in ('expert', 'router'):
        costs = getattr(parameters, f'{kind}s'), getattr(macs, f'{kind}s')
        for i, (count, cost) in enumerate(zip(*costs, strict=True), start=1):
            rows.append((f'{kind} {i}', count, cost))
    rows.append(('all experts', parameters.all_experts, macs.all_experts))
    if macs.routers:
        counts, costs = parameters.of_experts_used(), macs.of_experts_used()
        for k, (count, cost) in enumerate(zip(counts, costs, strict=True), start=1):
            experts = 'expert' if k == 1 else 'experts'
            rows.append((f'an image that uses {k} {experts}', int(count), int(cost)))
    return rows


def parse_usage(text: str, num_experts: int) -> np.ndarray:
    """Read percentages of images by the number of experts they use.

    Args:
        text: Numbers, separated by commas, that sum to 100 but for their rounding.
        num_experts: E.

    Returns:
        Shares that sum to one, (E,).

    Raises:
        UsageError: If these are not E such numbers.
    """
    words = [word.strip() for word in text.split(',')]
    try:
        percent = np.array([float(word) for word in words])
    except ValueError:
        raise UsageError(
            f'--usage: expected numbers separated by commas, got {text!r}'
        ) from None
    if len(percent) != num_experts:
        raise UsageError(
            f'--usage: expected {num_experts} percentages, of the images that use 1 to '
            f'{num_experts} experts, got {len(percent)}'
        )
    # Each may be off by half a unit of its last digit.
    rounding = sum(0.5 * 10.0 ** -len(word.partition('.')[2]) for word in words)
    total = percent.sum()
    if not (np.isfinite(percent).all() and (percent >= 0).all()):
        raise UsageError(f'--usage: expected percentages >= 0, got {text!r}')
    if abs(total - 100) > rounding + 1e-9:
        raise UsageError(
            f'--usage: expected percentages that sum to 100, got {text!r}, which sum '
            f'to {total:g}'
        )
    return percent / total


def _given_size(shape: Sequence[int]) -> tuple[int, int]:
    if len(shape) > 2 or min(shape) < 1:
        raise UsageError(
            '--shape: expected one number of pixels or height and width, each >= 1, '
            f'got {" ".join(map(str, shape))}'
        )
    return shape[0], shape[-1]


def _times(shape: Sequence[int]) -> str:
    return ' x '.join(map(str, shape))
