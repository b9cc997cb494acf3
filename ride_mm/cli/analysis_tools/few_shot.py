"""Few-shot accuracy of frozen features: ``tools/analysis_tools/few_shot.py``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from ...analysis.features import collect_features
from ...analysis.few_shot import (
    SHOTS,
    STRENGTHS,
    FewShotResult,
    LabelledFeatures,
    draw_images,
    evaluate_shots,
)
from ...analysis.tables import format_table
from ...utils.progress import progress_bar
from ..configs.loading import add_config_options, load_config
from ..errors import UsageError
from ..files import check_outputs, write_json
from ..program import run_main, say
from .frozen_model import (
    add_model_options,
    batches_of,
    frozen_model,
    labelled_images,
    labels_of,
    test_pipeline,
    whole_number,
)


def few_shot_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/analysis_tools/few_shot.py``."""
    run_main(few_shot, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Accuracy of a ridge regression on frozen features that sees a few '
        'training images of each class. Nothing is trained but that.',
        allow_abbrev=False,
        prog='few_shot.py',
    )
    add_model_options(parser)
    parser.add_argument(
        '--data',
        metavar='CONFIG',
        help='config of the images, path or name: those of its training are drawn '
        'from, those of its test are tested (default: CONFIG); they are resized and '
        'cropped as in the test of CONFIG',
    )
    parser.add_argument(
        '--shots',
        nargs='+',
        type=whole_number(1),
        default=list(SHOTS),
        metavar='N',
        help=f'training images of each class (default: {" ".join(map(str, SHOTS))})',
    )
    parser.add_argument(
        '--draws',
        type=whole_number(1),
        default=3,
        metavar='N',
        help='times that the images are drawn (default: 3)',
    )
    parser.add_argument(
        '--seed', type=whole_number(0), default=0, help='of the first draw (default: 0)'
    )
    strength = parser.add_mutually_exclusive_group()
    strength.add_argument(
        '--held-out',
        type=whole_number(1),
        default=5,
        metavar='N',
        help='further training images of each class, on which the strength of the '
        'regularisation is chosen (default: 5)',
    )
    strength.add_argument(
        '--l2', type=float, metavar='S', help='strength of the regularisation'
    )
    strength.add_argument(
        '--choose-on-test',
        action='store_true',
        help='choose the strength on the test images, as the authors of V-MoE do over '
        'several data sets; the accuracy is then better than on new images',
    )
    parser.add_argument('--json', metavar='FILE', help='write the results as JSON')
    add_config_options(parser)
    return parser


def few_shot(args: argparse.Namespace) -> list[FewShotResult]:
    """Draw, extract, fit, test and report as the options say.

    Returns:
        The results, in the order of the shots.

    Raises:
        UsageError: If the options cannot be followed.
    """
    if args.l2 is not None and not 0 < args.l2 < float('inf'):
        raise UsageError(f'--l2: expected a number > 0, got {args.l2}')
    check_outputs({'--json': args.json}, inputs=[args.config, args.checkpoint])
    shots = sorted(set(args.shots))
    cfg = load_config(args)
    train, test = data_sets(cfg, args)
    classes = len(train.CLASSES or ())
    held = 0 if args.l2 is not None or args.choose_on_test else args.held_out
    images = drawn(labels_of(train), classes, shots[-1] + held, held, args)
    check_test(labels_of(test), classes)
    model = frozen_model(cfg, args)
    draws = drawn_features(model, train, images, args)
    tested = all_features(model, test, args)
    results = [
        evaluate_shots(
            [draw.part(classes, 0, shots[-1]) for draw in draws],
            number,
            tested,
            classes,
            STRENGTHS if args.l2 is None else (args.l2,),
            [draw.part(classes, shots[-1], None) for draw in draws] if held else None,
        )
        for number in shots
    ]
    report(results, tested, classes, held, args)
    return results


def data_sets(cfg: Config, args: argparse.Namespace) -> tuple[Any, Any]:
    """The images to draw from and to test on, in the pipeline of the test.

    Raises:
        UsageError: If the config has no such data.
    """
    if args.data is None:
        return labelled_images(cfg, 'train'), labelled_images(cfg, 'test')
    others = load_config(
        argparse.Namespace(**{**vars(args), 'config': args.data, 'cfg_options': {}})
    )
    pipeline = test_pipeline(cfg)
    return tuple(labelled_images(others, name, pipeline) for name in ('train', 'test'))


def drawn(
    labels: np.ndarray,
    classes: int,
    per_class: int,
    held: int,
    args: argparse.Namespace,
) -> np.ndarray:
    """Indices of the images of each draw, (draws, C, per_class).

    Raises:
        UsageError: If a class has fewer images.
    """
    if not classes or labels.min() < 0 or labels.max() >= classes:
        raise UsageError(
            f'training images: expected classes 0 to {classes - 1}, got '
            f'{labels.min()} to {labels.max()}'
        )
    try:
        return np.stack(
            [
                draw_images(labels, classes, per_class, args.seed + i)
                for i in range(args.draws)
            ]
        )
    except ValueError as err:
        why = f'{per_class - held} to learn from and {held} held out; ' if held else ''
        raise UsageError(f'training images: {err} ({why}--shots takes fewer)') from None


def check_test(labels: np.ndarray, classes: int) -> None:
    """Refuse test images of classes that are not learned.

    Raises:
        UsageError: With expected and got.
    """
    if labels.min() < 0 or labels.max() >= classes:
        raise UsageError(
            f'test images: expected the {classes} classes of the training images, got '
            f'{labels.min()} to {labels.max()}'
        )


def drawn_features(
    model: nn.Module, dataset: Any, images: np.ndarray, args: argparse.Namespace
) -> list[LabelledFeatures]:
    """Features of all drawn images, each computed once."""
    unique, where = np.unique(images, return_inverse=True)
    with progress_bar('Training images', len(unique)) as advance:
        batches = batches_of(dataset, args, unique)
        features, labels = collect_features(model, batches, advance)
    where = torch.from_numpy(where.reshape(len(images), -1)).to(features.device)
    return [LabelledFeatures(features[w], labels[w]) for w in where]


def all_features(
    model: nn.Module, dataset: Any, args: argparse.Namespace
) -> LabelledFeatures:
    """Features of all images of a data set."""
    with progress_bar('Test images', len(dataset)) as advance:
        return LabelledFeatures(
            *collect_features(model, batches_of(dataset, args), advance)
        )


def report(
    results: Sequence[FewShotResult],
    tested: LabelledFeatures,
    classes: int,
    held: int,
    args: argparse.Namespace,
) -> None:
    """Print the results, and write them if asked to."""
    number, channels = tested.features.shape
    chosen = f'chosen on {held} further training images of each class'
    if not held:
        chosen = 'given' if args.l2 is not None else 'chosen on the test images'
    say(
        f'{Path(args.config).stem}: {channels} channels, {classes} classes, {number:,} '
        f'test images, draws: {args.draws}; regularisation {chosen}\n'
    )
    rows = [
        (
            str(result.shots),
            f'{result.mean:.2f}',
            '-' if result.std is None else f'{result.std:.2f}',
            f'{result.strength:g}',
        )
        for result in results
    ]
    say(format_table(('shots', 'accuracy (%)', 'deviation', 'l2'), rows))
    content = dict(
        config=args.config,
        checkpoint=args.checkpoint,
        data=args.data,
        options=args.cfg_options,
        channels=channels,
        classes=classes,
        test_images=number,
        seed=args.seed,
        regularisation=chosen,
        results=[
            dict(
                shots=result.shots,
                l2=result.strength,
                accuracy=result.mean,
                deviation=result.std,
                accuracies=list(result.accuracies),
            )
            for result in results
        ],
    )
    write_json(content, args.json)
