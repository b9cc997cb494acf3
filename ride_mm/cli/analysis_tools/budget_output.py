"""What the choice of a budget prints and writes."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from ...analysis.routing import OperatingPoint, probability_to_threshold
from ...analysis.tables import format_percent, format_table
from ...engine.checkpoint_io import load_checkpoint_file, write_atomically
from ...engine.hooks.fit_check import THRESHOLDS
from ...utils import SHOT_GROUPS, find_config

# Names of the budgets, in the analysis and on the command line.
BUDGETS = dict(
    mean_experts='--mean-experts', macs_ratio='--macs-ratio', accuracy_drop='--max-drop'
)
ROWS = 11
BEYOND = 1e9  # than any score
GROUPS = ('all', *SHOT_GROUPS)
COLUMNS = ('', 'thresholds', 'experts', 'MACs', 'of plain', *GROUPS)


def budget_of(args: argparse.Namespace) -> dict[str, float] | None:
    """The budget, as an argument of ``choose_thresholds``."""
    given = dict(
        mean_experts=args.mean_experts,
        macs_ratio=args.macs_ratio,
        accuracy_drop=args.max_drop,
    )
    return {name: v for name, v in given.items() if v is not None} or None


def table_of(
    sweeps: Sequence[tuple[str, Sequence[OperatingPoint]]],
    named: Sequence[tuple[str, OperatingPoint]],
) -> str:
    """Lay out at most ``ROWS`` points of each sweep, and the named ones."""
    rows = []
    for name, points in sweeps:
        step = max(1, (len(points) - 1) / (ROWS - 1))
        shown = {round(i * step) for i in range(ROWS)}
        shown = [points[i] for i in sorted(shown) if i < len(points)]
        rows += [row_of(name, point) for point in shown]
    return format_table(COLUMNS, rows + [row_of(name, p) for name, p in named])


def row_of(name: str, point: OperatingPoint) -> list[str]:
    """One operating point as a row of the table."""
    thresholds = point.probabilities
    if len(set(thresholds)) == 1:
        thresholds = thresholds[:1]
    return [
        name,
        ' '.join(map(short, thresholds)),
        f'{point.mean_experts:.3f}',
        f'{point.macs / 1e6:.2f} M',
        f'{point.macs_ratio:.3f}x',
        *(format_percent(point.accuracy.get(group)) for group in GROUPS),
    ]


def short(probability: float) -> str:
    """Write a probability so that it can be told from 0 and 1."""
    if 0.999 < probability < 1:
        return f'1-{1 - probability:.2g}'
    return f'{probability:.3g}'


def plain(point: OperatingPoint) -> dict:
    """An operating point as JSON, its thresholds being probabilities."""
    return dict(
        thresholds=list(point.probabilities),
        threshold_logits=finite(point),
        mean_experts=point.mean_experts,
        shares=list(point.shares),
        accuracy=point.accuracy,
        macs=point.macs,
        macs_ratio=point.macs_ratio,
    )


def write_choice(
    chosen: OperatingPoint, cfg: Config, args: argparse.Namespace, data: str
) -> None:
    """Print the thresholds chosen, and write them where the options say."""
    settings = settings_of(chosen)
    text = ' '.join(
        f'model.head.{k}={v}'.replace(', ', ',') for k, v in settings.items()
    )
    print(f'Chosen: --cfg-options {text}')
    if args.out_checkpoint is not None:
        checkpoint = load_checkpoint_file(args.checkpoint)
        state_dict = checkpoint.get('state_dict', checkpoint)
        state_dict[THRESHOLDS] = torch.tensor(chosen.thresholds)
        if 'state_dict' in checkpoint:
            checkpoint.setdefault('meta', {})['thresholds_set_on'] = data
        write_atomically(checkpoint, args.out_checkpoint)
        print(f'Checkpoint: {args.out_checkpoint}')
    if args.out_config is not None:
        write_atomically(config_text(settings, cfg, args, data), args.out_config)
        print(f'Config: {args.out_config}')


def settings_of(point: OperatingPoint) -> dict[str, list[float] | None]:
    """Settings of ``RouterHead`` that have these thresholds.

    Probabilities, unless they are too close to 1 to keep the thresholds apart; the
    other setting is None, should a config have it.
    """
    probabilities = list(point.probabilities)
    if np.allclose(probability_to_threshold(probabilities), point.thresholds, 1e-6):
        return dict(thresholds=probabilities, threshold_logits=None)
    return dict(thresholds=None, threshold_logits=finite(point))


def finite(point: OperatingPoint) -> list[float]:
    """Thresholds as logits, with numbers beyond every score for the infinite ones."""
    return np.clip(point.thresholds, -BEYOND, BEYOND).tolist()


def config_text(
    settings: dict, cfg: Config, args: argparse.Namespace, data: str
) -> str:
    """A config with these settings, which inherits from the one given.

    With ``--cfg-options`` it is complete instead, so that they are not lost.
    """
    ((budget, limit),) = budget_of(args).items()
    said = (
        f'"""{Path(args.config).stem} with thresholds for a budget.\n\n'
        f'{BUDGETS[budget]} {limit:g}, set on {data}.\n"""\n\n'
    )
    if args.cfg_options:
        cfg.model.head.update(settings)
        return f'{said}{cfg.pretty_text}'
    base = find_config(args.config).resolve()
    try:
        base = base.relative_to(Path(args.out_config).resolve().parent)
    except ValueError:
        pass  # Elsewhere: the full path.
    head = ', '.join(f'{name}={value}' for name, value in settings.items())
    return f'{said}_base_ = {str(base)!r}\n\nmodel = dict(head=dict({head}))\n'
