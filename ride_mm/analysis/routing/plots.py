"""Picture of what routing costs and achieves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from ...utils.shots import SHOT_GROUPS
from ..plots import COLOURS
from .points import OperatingPoint

GROUP_COLOURS = dict(zip(('all', *SHOT_GROUPS), COLOURS, strict=False))
PER_ROUTER_COLOUR = COLOURS[5]


def plot_routing(
    path: str | Path,
    one_threshold: Sequence[OperatingPoint],
    per_router: Sequence[OperatingPoint] = (),
    reference: OperatingPoint | None = None,
    chosen: OperatingPoint | None = None,
    title: str = 'Accuracy against computation, by the thresholds of the routers',
) -> None:
    """Draw accuracy against mean experts, by shots, and against multiply-adds, in all.

    Args:
        path: File to write, its suffix being the format.
        one_threshold: Sweep of one threshold from one expert to all, in that order, as
            ``sweep_one_threshold`` gives it.
        per_router: Frontier with a threshold for each router.
        reference: Operating point to compare with, that of the checkpoint.
        chosen: Operating point chosen.
        title: Heading of the picture.

    Raises:
        ValueError: If the sweep does not end with all experts.
    """
    if not one_threshold or not np.isclose(one_threshold[-1].shares[-1], 1):
        raise ValueError(
            'one_threshold: expected a sweep that ends with all experts, got '
            + (f'{one_threshold[-1].shares}' if one_threshold else 'no point')
        )
    figure = Figure(figsize=(10, 4.8), layout='constrained')
    left, right = figure.subplots(1, 2)
    _draw_groups(left, one_threshold)
    _draw_cost(right, one_threshold, per_router)
    for point, name, marker, size in (
        (reference, 'checkpoint', 'o', 7),
        (chosen, 'chosen', '*', 13),
    ):
        if point is not None:
            _mark(left, right, point, name, ls='', marker=marker, ms=size)
    for axes in (left, right):
        axes.grid(alpha=0.4)
        axes.set_axisbelow(True)
    left.legend(
        loc='lower center', bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, fontsize=9
    )
    right.legend(loc='lower right', fontsize=9)
    figure.suptitle(title)
    figure.savefig(path, dpi=150)


def _draw_groups(axes: Axes, sweep: Sequence[OperatingPoint]) -> None:
    experts = [point.mean_experts for point in sweep]
    for group, colour in GROUP_COLOURS.items():
        if group in sweep[0].accuracy:
            accuracy = [point.accuracy[group] for point in sweep]
            name = group if group == 'all' else f'{group}-shot'
            width = 2.5 if group == 'all' else 1.5
            axes.plot(experts, accuracy, lw=width, color=colour, label=name)
    axes.xaxis.set_major_locator(MultipleLocator(0.5))
    axes.set_xlabel('experts used by an image, mean')
    axes.set_ylabel('accuracy (%)')


def _draw_cost(
    axes: Axes, sweep: Sequence[OperatingPoint], frontier: Sequence[OperatingPoint]
) -> None:
    for points, name, style in (
        (sweep, 'one threshold', dict(lw=2.5, color=GROUP_COLOURS['all'])),
        (frontier, 'one for each router', dict(lw=1.5, color=PER_ROUTER_COLOUR)),
    ):
        if points:
            ratios = [point.macs_ratio for point in points]
            accuracy = [point.accuracy['all'] for point in points]
            axes.plot(ratios, accuracy, label=name, **style)
    every = sweep[-1]
    label = f'all experts: {every.accuracy["all"]:.1f} % at {every.macs_ratio:.2f}x'
    axes.axhline(every.accuracy['all'], ls='--', lw=1, color='#666666', label=label)
    axes.set_xlabel('multiply-adds relative to the plain network, mean')
    axes.set_ylabel('accuracy, all (%)')


def _mark(left: Axes, right: Axes, point: OperatingPoint, name: str, **style) -> None:
    """Mark an operating point: each group in its colour, and its cost."""
    style = dict(style, mfc='white', mew=1.5, zorder=3)
    for group, colour in GROUP_COLOURS.items():
        if group in point.accuracy:
            left.plot(point.mean_experts, point.accuracy[group], mec=colour, **style)
    accuracy = point.accuracy['all']
    label = f'{name}: {accuracy:.1f} % at {point.macs_ratio:.2f}x'
    right.plot(point.macs_ratio, accuracy, mec='black', label=label, **style)
