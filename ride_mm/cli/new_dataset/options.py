"""Options of ``tools/new_dataset.py``."""

import argparse

from ..errors import UsageError

EPILOG = """\
DATA_ROOT has a folder for each class; or train, test (and val) with a folder for each
class in each; or images that --table names. No image is copied, moved or changed.
"""
AT_LEAST = dict(image_size=16, experts=1, epochs=1, batch_size=2, test_per_class=1)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Inspect images of your own, split them into training and test, '
        'and write configs that train RIDE on them, test it and classify with it.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        prog='new_dataset.py',
    )
    add = parser.add_argument
    add('data_root', metavar='DATA_ROOT', help='folder of the images')
    add(
        '--table',
        metavar='FILE',
        help='labels of the images: .csv or .tsv with a header, or lines "path label"; '
        'paths start from DATA_ROOT',
    )
    for what in ('path', 'label', 'split'):
        add(
            f'--{what}-column',
            metavar='NAME',
            help=f'column of the table with the {what} (default: a usual name)',
        )
    add('--classes', metavar='FILE', help='names of the classes, one in a line')
    add('--name', help='of the data set (default: that of DATA_ROOT)')
    add('--out', metavar='FOLDER', help='for the configs (default: configs_NAME)')
    add(
        '--test-per-class',
        type=int,
        metavar='N',
        help='images of each class for the test, at most half of the class (default: a '
        'fifth of all images over the number of classes, at most a third of a class)',
    )
    add(
        '--test-fraction',
        type=float,
        metavar='F',
        help='that share of each class instead, so that the test is long-tailed too',
    )
    add('--seed', type=int, default=0, help='of the split (default: 0)')
    add('--image-size', type=int, metavar='PIXELS', help='of images in the network')
    add('--experts', type=int, metavar='N', help='number of experts (default: 3)')
    add('--epochs', type=int, metavar='N', help='of stage one')
    add('--batch-size', type=int, metavar='N', help='of training')
    add(
        '--check',
        choices=('decode', 'open'),
        default='decode',
        help='look at all pixels of each image, or at its header and end, which is '
        'faster (default: decode)',
    )
    add(
        '--skip-unreadable',
        action='store_true',
        help='leave out images that cannot be used, instead of stopping',
    )
    parser.set_defaults(local_rank=0)
    add('--dry-run', action='store_true', help='tell what would be done, write nothing')
    add(
        '--overwrite',
        action='store_true',
        help='replace files of an earlier run that were changed or would change',
    )
    return parser


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that cannot be followed.

    Raises:
        UsageError: With expected and got.
    """
    for name, least in AT_LEAST.items():
        value = getattr(args, name)
        if value is not None and value < least:
            option = f'--{name.replace("_", "-")}'
            raise UsageError(f'{option}: expected a number >= {least}, got {value}')
    if args.test_fraction is not None:
        if args.test_per_class is not None:
            raise UsageError(
                '--test-fraction: expected no --test-per-class beside it, got both'
            )
        if not 0 < args.test_fraction <= 0.5:
            raise UsageError(
                '--test-fraction: expected a number above 0 and at most 0.5, got '
                f'{args.test_fraction:g}'
            )
    if not 0 <= args.seed < 2**32:
        raise UsageError(
            f'--seed: expected a number from 0 to 2^32 - 1, got {args.seed}'
        )
    if args.table is None:
        for name in ('path_column', 'label_column', 'split_column', 'classes'):
            if getattr(args, name) is not None:
                option = f'--{name.replace("_", "-")}'
                raise UsageError(f'{option}: expected --table FILE too, got none')
