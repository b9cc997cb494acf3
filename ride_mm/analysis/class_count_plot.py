"""A picture of how long a data set's tail is."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from matplotlib.figure import Figure

from ..utils.shots import shot_groups
from .plots import BAR_LIMIT, COLOURS, mark_groups

# Longer names are cut below a bar.
MAX_NAME = 20


def plot_class_counts(
    counts: Sequence[int],
    names: Sequence[str],
    title: str,
    many: int = 100,
    few: int = 20,
) -> bytes:
    """Draw the training images of each class, the frequent classes first.

    The axis of the images is logarithmic; the background tells many-, medium- and
    few-shot classes apart.

    Args:
        counts: Training images of each class, (C,).
        names: Names of the classes, (C,).
        title: Heading of the picture.
        many: A class with more training images is many-shot.
        few: A class with fewer training images is few-shot.

    Returns:
        The picture as PNG.
    """
    counts = np.asarray(counts)
    order = np.argsort(-counts, kind='stable')
    shots = counts[order]
    places = np.arange(len(shots))
    figure = Figure(figsize=(9, 4), layout='constrained')
    axes = figure.subplots()
    if len(shots) <= BAR_LIMIT:
        bars = axes.bar(places, shots, 0.8, color=COLOURS[0])
        axes.bar_label(bars, fontsize=8)
        labels = [_short(names[c]) for c in order]
        # A $ would begin a formula.
        axes.set_xticks(places, [label.replace('$', r'\$') for label in labels])
        if max(map(len, labels)) > 3:
            slanted = dict(rotation=60, ha='right', rotation_mode='anchor')
            axes.set_xticklabels(axes.get_xticklabels(), **slanted)
    else:
        axes.fill_between(places, shots, step='mid', color=COLOURS[0], alpha=0.35)
        axes.step(places, shots, where='mid', lw=1.2, color=COLOURS[0])
    axes.set_xlim(-0.5, len(shots) - 0.5)
    axes.set_yscale('symlog', linthresh=1)
    axes.yaxis.set_major_formatter('{x:,.0f}')
    axes.set_ylim(0, 3 * max(shots.max(), 1))
    mark_groups(axes, shots, many, few, named=True)
    for threshold in (many, few):
        axes.axhline(threshold, lw=0.8, ls=':', color='#666666')
    sizes = [len(group) for group in shot_groups(shots, many, few).values()]
    axes.set_title(
        f'{title}: {shots.sum():,} images, many / medium / few '
        f'{sizes[0]:,} / {sizes[1]:,} / {sizes[2]:,} classes'.replace('$', r'\$'),
        pad=22,
        fontsize=10,
    )
    axes.set_xlabel('class, from head (many training images) to tail (few)')
    axes.set_ylabel('training images')
    axes.grid(axis='y', alpha=0.4)
    axes.set_axisbelow(True)
    picture = BytesIO()
    figure.savefig(picture, format='png', dpi=150)
    return picture.getvalue()


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f'{name[: MAX_NAME - 1]}…'
