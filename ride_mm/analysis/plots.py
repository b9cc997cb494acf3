"""Pictures of results."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..utils.shots import shot_groups
from .class_accuracy import ClassAccuracy

# Okabe and Ito's colours, told apart with any kind of colour vision.
COLOURS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00')
# More classes than this are drawn as lines, without the name of each.
BAR_LIMIT = 30


def plot_accuracy_by_class(
    results: Mapping[str, ClassAccuracy],
    path: str | Path,
    title: str = 'Accuracy by class, from head to tail',
    many: int = 100,
    few: int = 20,
) -> None:
    """Draw the accuracy of each class for several models, the frequent classes first.

    Below the accuracies stand the training images of each class; the background tells
    many-, medium- and few-shot classes apart.

    Args:
        results: Accuracies of each model, by its name; all of the same classes.
        path: File to write, its suffix being the format.
        title: Heading of the picture.
        many: A class with more training images is many-shot.
        few: A class with fewer training images is few-shot.

    Raises:
        ValueError: If the models differ in their classes or class counts.
    """
    first = next(iter(results.values()))
    for name, result in results.items():
        if result.names != first.names or list(result.shots) != list(first.shots):
            raise ValueError(
                f'{name}: expected the classes and class counts of '
                f'{next(iter(results))}, got others'
            )
    order = np.argsort(-first.shots, kind='stable')
    figure = Figure(figsize=(9, 5.5), layout='constrained')
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _draw_accuracy(upper, {name: r.accuracy[order] for name, r in results.items()})
    _draw_shots(lower, first.shots[order])
    for axes in (upper, lower):
        mark_groups(axes, first.shots[order], many, few, named=axes is upper)
    upper.set_title(title, pad=22)
    figure.legend(
        *upper.get_legend_handles_labels(),
        loc='outside lower center',
        ncols=len(results),
    )
    lower.set_xlabel('class, from head (many training images) to tail (few)')
    if len(order) <= BAR_LIMIT:
        lower.set_xticks(range(len(order)), [first.names[c] for c in order])
        if max(map(len, first.names)) > 3:
            lower.tick_params(axis='x', rotation=60)
    figure.savefig(path, dpi=150)


def _draw_accuracy(axes: Axes, accuracies: Mapping[str, np.ndarray]) -> None:
    classes = np.arange(len(next(iter(accuracies.values()))))
    width = 0.8 / len(accuracies)
    for i, (name, accuracy) in enumerate(accuracies.items()):
        colour = COLOURS[i % len(COLOURS)]
        if len(classes) <= BAR_LIMIT:
            shift = (i - (len(accuracies) - 1) / 2) * width
            axes.bar(classes + shift, accuracy, width, label=name, color=colour)
        else:
            axes.plot(classes, accuracy, '.-', lw=0.8, label=name, color=colour)
    axes.set_ylim(0, 105)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel('test accuracy (%)')
    axes.grid(axis='y', alpha=0.4)
    axes.set_axisbelow(True)


def _draw_shots(axes: Axes, shots: np.ndarray) -> None:
    classes = np.arange(len(shots))
    width = 0.8 if len(shots) <= BAR_LIMIT else 1.0
    bars = axes.bar(classes, shots, width, color='#666666')
    if len(shots) <= BAR_LIMIT:
        axes.bar_label(bars, fontsize=8)
    axes.set_ylabel('training images')
    axes.set_ylim(0, 1.25 * max(shots.max(), 1))
    axes.set_xlim(-0.5, len(shots) - 0.5)


def mark_groups(
    axes: Axes, shots: np.ndarray, many: int, few: int, named: bool
) -> None:
    """Tell many-, medium- and few-shot classes apart by the background.

    Args:
        axes: Where classes stand side by side, the frequent ones first.
        shots: Training images of each class in that order, (C,).
        many: A class with more training images is many-shot.
        few: A class with fewer training images is few-shot.
        named: Whether to name the groups above.
    """
    shades = {'many': '#FFFFFF', 'medium': '#F2F2F2', 'few': '#E2E2E2'}
    for group, classes in shot_groups(shots, many, few).items():
        if len(classes) == 0:
            continue
        left, right = classes[0] - 0.5, classes[-1] + 0.5
        axes.axvspan(left, right, color=shades[group], zorder=0)
        if named:
            axes.annotate(
                f'{group}-shot',
                ((left + right) / 2, 1.01),
                xycoords=('data', 'axes fraction'),
                ha='center',
                va='bottom',
                fontsize=9,
            )
