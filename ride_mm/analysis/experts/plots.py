"""Pictures of what sparse mixtures of experts do."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..plots import BAR_LIMIT, COLOURS
from .capacity import CapacityPoint
from .recording import LayerRouting


def plot_experts_by_class(
    layers: Sequence[LayerRouting],
    path: str | Path,
    names: Sequence[str] | None = None,
) -> None:
    """Draw which experts the tokens of each class select, a map for each layer.

    Experts of a layer are in the order of the classes that they see most, without which
    a map of many classes shows nothing; their numbers stand below.

    Args:
        layers: Of a recording.
        path: File to write, its suffix being the format.
        names: Of the classes, (C,); written if there are at most 30.
    """
    classes = layers[0].asked.shape[0]
    width = min(4.0, 24 / len(layers))
    figure = Figure(
        figsize=(max(5.0, 1.5 + width * len(layers)), 5.5), layout='constrained'
    )
    axes = np.atleast_1d(figure.subplots(1, len(layers), sharey=False))
    for axis, layer in zip(axes, layers, strict=True):
        share = np.nan_to_num(layer.by_class)
        order = np.argsort(share.argmax(0), kind='stable')
        picture = axis.imshow(
            100 * share[:, order], aspect='auto', cmap='viridis', vmin=0
        )
        figure.colorbar(picture, ax=axis, label='% of the class', shrink=0.8)
        axis.set_title(layer.name, fontsize=9)
        axis.set_xlabel('expert')
        if len(order) <= BAR_LIMIT:
            axis.set_xticks(range(len(order)), [str(e) for e in order])
        if names is not None and classes <= BAR_LIMIT:
            axis.set_yticks(range(classes), names)
    axes[0].set_ylabel('class')
    figure.suptitle('Experts that the tokens of a class select')
    figure.savefig(path, dpi=150)


def plot_load(layers: Sequence[LayerRouting], path: str | Path) -> None:
    """Draw how many tokens each expert takes, and how many find no room.

    Args:
        layers: Of a recording.
        path: File to write, its suffix being the format.
    """
    figure = Figure(figsize=(9, 5.5), layout='constrained')
    upper, lower = figure.subplots(2, 1, height_ratios=(2, 1))
    for i, layer in enumerate(layers):
        upper.plot(
            np.arange(1, len(layer.load) + 1),
            np.sort(layer.load)[::-1],
            'o-',
            ms=4,
            lw=1,
            color=COLOURS[i % len(COLOURS)],
            label=layer.name,
        )
    upper.axhline(1, ls='--', lw=1, color='#666666')
    upper.set_ylim(bottom=0)
    upper.xaxis.set_major_locator(MaxNLocator(integer=True))
    upper.set_xlabel('experts, the busiest first')
    upper.set_ylabel('tokens / even spread')
    upper.legend(fontsize=8)
    places = np.arange(len(layers))
    for shift, name, values in (
        (-0.2, 'assignments without room', [layer.dropped for layer in layers]),
        (0.2, 'tokens without an expert', [layer.passed_by for layer in layers]),
    ):
        colour = COLOURS[0] if shift < 0 else COLOURS[1]
        lower.bar(places + shift, 100 * np.array(values), 0.4, label=name, color=colour)
    lower.set_xticks(places, [layer.name for layer in layers], fontsize=8)
    if len(layers) > 4:
        lower.tick_params(axis='x', rotation=20)
    lower.set_ylabel('%')
    lower.legend(fontsize=8)
    figure.suptitle('Load of the experts')
    figure.savefig(path, dpi=150)


def plot_capacity(points: Sequence[CapacityPoint], path: str | Path) -> None:
    """Draw accuracy against the room of the experts at test time.

    Args:
        points: Of a sweep.
        path: File to write, its suffix being the format.
    """
    figure = Figure(figsize=(9, 4.2), layout='constrained')
    left, right = figure.subplots(1, 2)
    for priority, name, colour in (
        (False, 'first come, first served', COLOURS[0]),
        (True, 'batch priority', COLOURS[5]),
    ):
        some = sorted(
            (p for p in points if p.batch_priority == priority), key=lambda p: p.factor
        )
        if not some:
            continue
        style = dict(color=colour, label=name, marker='o', ms=4)
        left.plot([p.factor for p in some], [p.accuracy for p in some], **style)
        right.plot([p.factor for p in some], [100 * p.passed_by for p in some], **style)
    for axis, label in (
        (left, 'accuracy (%)'),
        (right, 'tokens without an expert (%)'),
    ):
        axis.set_xlabel('capacity factor at test time')
        axis.set_ylabel(label)
        axis.grid(alpha=0.4)
    left.legend()
    figure.suptitle('Accuracy against the room of the experts')
    figure.savefig(path, dpi=150)
