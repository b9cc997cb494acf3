"""Classify images from the command line."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mmengine.utils import ProgressBar
from mmpretrain.visualization import UniversalVisualizer

from ..apis import Inferencer
from ..engine.checkpoint_io import write_atomically
from .configs.loading import add_config_options, load_config
from .devices import pick_device
from .errors import UsageError
from .files import check_outputs, existing_file, write_json
from .image_files import IMAGE_SUFFIXES, find_images
from .infer_output import (
    csv_of,
    draw,
    line_of,
    lines_of_summary,
    picture_names,
    summarise,
)
from .program import run_main
from .text import count, printable

# In place of a checkpoint: the weights that ride_mm ships.
SHIPPED = '-'
SOME_SKIPPED, FAILED = 1, 2
EPILOG = """\
exit status: 0 all images were classified; 1 some could not be read and were skipped;
2 the options cannot be followed, or no image could be read
"""


def infer_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/infer.py``.

    Raises:
        SystemExit: With status 1 if files were skipped, 2 after an error.
    """
    skipped = run_main(infer, make_parser(), argv, error_status=FAILED)
    if skipped:
        sys.exit(SOME_SKIPPED)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Classify images with a trained model: prints the classes of each '
        'image with their probabilities, best first, and with routers the number of '
        'experts that the image took.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        prog='infer.py',
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    parser.add_argument(
        'checkpoint',
        help=f'path or https address of a checkpoint; {SHIPPED} takes the weights that '
        'come with ride_mm, for the configs that have some',
    )
    parser.add_argument(
        'images',
        nargs='+',
        help='files; folders, which are searched through all levels; and patterns in '
        'quotes, such as "a/**/*.jpg"; of folders and patterns are taken '
        f'{" ".join(IMAGE_SUFFIXES)}',
    )
    parser.add_argument(
        '--top-k',
        type=int,
        default=5,
        metavar='K',
        help='classes to name for each image (default: 5)',
    )
    parser.add_argument('--csv', metavar='FILE', help='write the predictions as CSV')
    parser.add_argument('--json', metavar='FILE', help='write the predictions as JSON')
    parser.add_argument(
        '--draw', metavar='FOLDER', help='write the images there, annotated, as PNG'
    )
    parser.add_argument(
        '--quiet', action='store_true', help='print the summary only, not each image'
    )
    parser.add_argument(
        '--classes',
        metavar='FILE',
        help='names of the classes, one in a line (default: those in the checkpoint, '
        'else those of the data set, else numbers)',
    )
    parser.add_argument(
        '--thresholds',
        type=numbers,
        metavar='P[,P...]',
        help='ask a further expert where the probability of a router is above this; '
        'one number, or one for each router (default: those of config or checkpoint)',
    )
    parser.add_argument(
        '--batch-size', type=int, default=32, metavar='N', help='(default: 32)'
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=0,
        metavar='N',
        help='processes that load images (default: 0, the program itself)',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the network at the first batch, which pays for many images; not '
        'for networks with routers',
    )
    parser.add_argument(
        '--device', help='such as cpu or cuda:1 (default: a GPU if there is one)'
    )
    add_config_options(parser)
    return parser


def numbers(text: str) -> float | list[float]:
    """Read one number, or several that are separated by commas."""
    values = [float(word) for word in text.split(',')]
    return values if len(values) > 1 else values[0]


numbers.__name__ = 'number'  # As argparse calls it in its errors.


def infer(args: argparse.Namespace) -> dict[str, str]:
    """Classify as the options say.

    Returns:
        What is wrong with each file that was skipped.

    Raises:
        UsageError: If the options cannot be followed, or no image can be read.
    """
    for name, least in (('top_k', 1), ('batch_size', 1), ('workers', 0)):
        if getattr(args, name) < least:
            option = f'--{name.replace("_", "-")}'
            raise UsageError(
                f'{option}: expected a number >= {least}, got {getattr(args, name)}'
            )
    images = find_images(args.images)
    check_outputs(
        {'--csv': args.csv, '--json': args.json},
        {'--draw': args.draw},
        [*images, args.config, args.checkpoint, args.classes],
    )
    inferencer = build(args)
    start = time.perf_counter()
    results, skipped = classify(inferencer, images, args)
    seconds = time.perf_counter() - start
    if not results:
        raise UsageError(f'expected images that can be read, got {len(skipped)} broken')
    summary = summarise(results, seconds)
    print(printable(lines_of_summary(summary, len(skipped))))
    if args.csv is not None:
        write_atomically(csv_of(results), args.csv)
    if args.json is not None:
        content = dict(
            config=args.config,
            checkpoint=args.checkpoint,
            options=args.cfg_options,
            thresholds=args.thresholds,
            summary=summary,
            skipped=[dict(img_path=p, fault=f) for p, f in skipped.items()],
            predictions=results,
        )
        write_json(content, args.json)
    return skipped


def build(args: argparse.Namespace) -> Inferencer:
    """Build the model, load its weights and set what the options say.

    Raises:
        UsageError: If they cannot be followed.
    """
    checkpoint = None
    if args.checkpoint != SHIPPED:
        checkpoint = existing_file(args.checkpoint, 'a checkpoint')
    classes = None
    if args.classes is not None:
        classes = read_classes(args.classes)
    device = None if args.device is None else str(pick_device(args.device))
    cfg = load_config(args)
    try:
        return Inferencer(
            cfg, checkpoint, device, classes, args.thresholds, args.compile
        )
    except (ValueError, FileNotFoundError) as err:
        raise UsageError(f'{args.config}: {err}') from None


def read_classes(path: str) -> list[str]:
    """Read names of classes, one in a line.

    Raises:
        UsageError: If there is no such file, it is no text in UTF-8, or a line before
            the last name is empty.
    """
    existing_file(path, 'a file with the names of the classes')
    try:
        text = Path(path).expanduser().read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as err:
        raise UsageError(
            f'--classes: expected text in UTF-8, got {path} with byte '
            f'{err.object[err.start]:#04x} at {err.start}'
        ) from None
    names = text.rstrip().split('\n')
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise UsageError(
                f'--classes: expected a name in each line, got none in line {number} '
                f'of {path}'
            )
    return names


def classify(
    inferencer: Inferencer, images: list[str], args: argparse.Namespace
) -> tuple[list[dict], dict[str, str]]:
    """Classify, print and draw image after image.

    Returns:
        The predictions, and what is wrong with each file that was skipped.
    """
    results, skipped = [], {}
    pictures = visualizer = bar = None
    if args.draw is not None:
        pictures, visualizer = picture_names(images, args.draw), UniversalVisualizer()
    # On a terminal the lines of the images are progress enough.
    if sys.stderr.isatty() and (args.quiet or not sys.stdout.isatty()):
        bar = ProgressBar(len(images), file=sys.stderr)

    def skip(path: str, fault: str) -> None:
        skipped[path] = fault
        start = '' if bar is None else '\n'  # A line of its own, not the bar's.
        print(f'{start}skipped: {path}: {fault}', file=sys.stderr, flush=True)
        if bar is not None:
            bar.update()

    for result in inferencer.iterate(
        images, args.top_k, args.batch_size, args.workers, skip
    ):
        results.append(result)
        if not args.quiet:
            print(printable(line_of(result)), flush=True)
        if pictures is not None:
            path = result['img_path']
            draw(visualizer, result, inferencer.classes, pictures[path])
        if bar is not None:
            bar.update()
    if bar is not None:
        print(file=sys.stderr)
    if pictures is not None:
        print(f'{count(len(results), "picture")} in {args.draw}')
    return results, skipped
