"""Look at every image of a config's data sets, and report what is wrong."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ...analysis import plot_class_counts
from ...datasets.opening import open_dataset
from ...datasets.verification import (
    KINDS,
    Finding,
    findings_between,
    findings_of_set,
    look_at_all,
)
from ...engine.checkpoint_io import write_atomically
from ...utils.listing import first_few
from ...utils.machine import usable_processors
from ..configs.loading import add_config_options, load_config
from ..errors import UsageError
from ..files import check_outputs, write_json
from ..program import run_main
from ..text import printable
from .verify_output import Report, Split, content_of, lines_of

SPLITS = ('train', 'val', 'test')
WRONG, FAILED = 1, 2
EPILOG = """\
Two images are the same if their pixels are, whatever their files are called.

exit status: 0 nothing is wrong; 1 something is; 2 the options cannot be followed
"""


def verify_dataset_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/misc/verify_dataset.py``.

    Raises:
        SystemExit: With status 1 if something is wrong, 2 after an error.
    """
    if not run_main(verify_dataset, make_parser(), argv, error_status=FAILED):
        sys.exit(WRONG)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Decode every image of the training, validation and test set of a '
        'config; report unreadable files, images that occur twice or in two sets, and '
        'how long the tail is.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        prog='verify_dataset.py',
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    parser.add_argument('--json', metavar='FILE', help='write the report as JSON')
    parser.add_argument(
        '--plot',
        metavar='FILE',
        help='draw the training images of each class as PNG (default: '
        'work_dirs/CONFIG/class_counts.png)',
    )
    parser.add_argument('--no-plot', action='store_true', help='draw nothing')
    parser.add_argument(
        '--ignore',
        nargs='+',
        choices=tuple(KINDS),
        default=(),
        metavar='KIND',
        help=f'report, but accept: {", ".join(KINDS)}',
    )
    parser.add_argument(
        '--named', type=int, default=5, help='name so many of each kind (default: 5)'
    )
    parser.add_argument(
        '--threads',
        type=int,
        default=min(32, usable_processors()),
        help='images decoded at a time (default: one for each core)',
    )
    add_config_options(parser)
    return parser


def verify_dataset(args: argparse.Namespace) -> bool:
    """Look at the data sets and report.

    Returns:
        Whether nothing is wrong but what is to be ignored.

    Raises:
        UsageError: If the options cannot be followed.
    """
    for option, least in (('threads', 1), ('named', 0)):
        if getattr(args, option) < least:
            raise UsageError(
                f'--{option}: expected a number >= {least}, got {getattr(args, option)}'
            )
    cfg = load_config(args)
    plot = args.plot or str(Path(cfg.work_dir, 'class_counts.png'))
    check_outputs({'--json': args.json, '--plot': None if args.no_plot else plot})
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    # Of files with odd metadata; what matters is found.
    warnings.filterwarnings('ignore', module='PIL')
    # Of names in letters that the font of the picture lacks.
    warnings.filterwarnings('ignore', message='Glyph')
    report = look_at_config(cfg, args.threads)
    accepted = [f for f in report.findings if f.kind in args.ignore]
    good = len(accepted) == len(report.findings)
    print(printable('\n'.join(lines_of(report, args.named, args.ignore))))
    train = next((split for split in report.splits if split.is_train()), None)
    if train is not None and not args.no_plot:
        title = Path(str(args.config)).stem
        write_atomically(plot_class_counts(train.counts, train.classes, title), plot)
        print(f'Class counts: {plot}')
    write_json(content_of(report, str(args.config), good), args.json)
    print('Nothing is wrong.' if good else 'Something is wrong.')
    return good


def look_at_config(cfg: Config, threads: int) -> Report:
    """Look at all data sets of a config.

    Args:
        cfg: The config.
        threads: Images decoded at a time.

    Returns:
        What was found.

    Raises:
        UsageError: If the config has no data set.
    """
    report = Report()
    for name, settings in _different_sets(cfg):
        dataset, fault = open_dataset(settings)
        if fault is not None:
            report.findings.append(Finding('set', name, fault))
        if dataset is None:
            continue
        classes = [str(c) for c in dataset.metainfo.get('classes') or ()]
        try:
            looks = look_at_all(dataset, threads, name)
        except (ValueError, TypeError) as err:  # Labels that are none.
            report.findings.append(Finding('set', name, str(err)))
            continue
        split = Split(name, classes, looks)
        kind = 'untrained' if split.is_train() else 'untested'
        report.findings += findings_of_set(name, looks, classes, kind)
        report.splits.append(split)
    report.findings += _of_classes(report.splits)
    report.findings += findings_between({s.name: s.looks for s in report.splits})
    return report


def _different_sets(cfg: Config) -> list[tuple[str, Any]]:
    """Names and configs of the data sets, those with the same images together."""
    found: list[tuple[str, Any]] = []
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        settings = loader.get('dataset') if loader else None
        if settings is None:
            continue
        names = [name for name, known in found if known == settings]
        if names:
            i = [known for _, known in found].index(settings)
            found[i] = f'{names[0]}, {split}', settings
        else:
            found.append((split, settings))
    if not found:
        raise UsageError('expected a config with data sets, got one without')
    return found


def _of_classes(splits: Sequence[Split]) -> list[Finding]:
    """Sets with other classes than the first one."""
    found = []
    for split in splits[1:]:
        first = splits[0]
        if split.classes == first.classes:
            continue
        only = sorted(set(first.classes) ^ set(split.classes))
        what = f'only in one of them: {first_few(only)}' if only else 'in another order'
        found.append(
            Finding(
                'classes',
                split.name,
                f'expected the {len(first.classes)} classes of {first.name}, got '
                f'{len(split.classes)}; {what}',
            )
        )
    return found
