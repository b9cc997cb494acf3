"""Bring the official files of a benchmark into the layout that its configs expect."""

import argparse
import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from ...datasets.image_check import image_faults
from ...datasets.preparation import (
    BENCHMARKS,
    Benchmark,
    ListFile,
    PreparationError,
    Wanted,
    archives_in,
    check_list,
    extract,
    find_list,
    link,
    list_files,
    read_annotations,
    read_checked,
)
from ...engine.checkpoint_io import write_atomically
from ...utils.files import remove_temporary_files
from ...utils.listing import first_few
from ...utils.progress import progress_bar
from ..errors import UsageError
from ..program import run_main
from ..runs.work_dir import locked

IN_USE = (
    'expected a folder that is prepared by this program alone, got one that another '
    'is writing to; wait for it to end'
)


def prepare_main(name: str, argv: Sequence[str] | None = None) -> None:
    """Entry point of the tools in ``tools/dataset_converters/``.

    Args:
        name: Of the benchmark.
        argv: The options, None for those of the program.
    """
    run_main(prepare, make_parser(name), argv)


def make_parser(name: str) -> argparse.ArgumentParser:
    """Options of the tools."""
    benchmark = BENCHMARKS[name]
    root, lists = list_files(benchmark.config)
    parser = argparse.ArgumentParser(
        description=f'Prepare {benchmark.title}: check its lists '
        f'({", ".join(one.name for one in lists)}), extract the images that they name '
        'from archives, or link them where they are unpacked, and see that none is '
        'missing. What is there stays; call it again to go on.',
        allow_abbrev=False,
        prog=f'{name}.py',
    )
    parser.add_argument(
        'root', nargs='?', default=root, help=f'folder of the layout (default: {root})'
    )
    parser.add_argument(
        '--images', nargs='+', type=Path, default=[], help=benchmark.sources
    )
    parser.add_argument(
        '--lists', type=Path, metavar='FOLDER', help='has the lists, plain or gzipped'
    )
    if name == 'inat2018':
        parser.add_argument(
            '--annotations',
            nargs=2,
            type=Path,
            metavar=('TRAIN', 'VAL'),
            help='instead of --lists: train2018.json and val2018.json, or the .tar.gz '
            'with them',
        )
    parser.add_argument(
        '--all', action='store_true', help='extract images that are on no list, too'
    )
    parser.add_argument(
        '--any-counts',
        action='store_true',
        help='accept lists other than the published ones',
    )
    if name != 'inat2018':
        parser.set_defaults(annotations=None)
    parser.set_defaults(benchmark=benchmark, expected=lists, local_rank=0)
    return parser


def prepare(args: argparse.Namespace) -> None:
    """Prepare a benchmark as the options say.

    Raises:
        UsageError: If files are missing or not what they should be.
    """
    for path in (*args.images, *filter(None, (args.lists,)), *(args.annotations or ())):
        if not path.exists():
            raise UsageError(f'expected {path}, got no such file or folder')
    if args.lists is not None and args.annotations is not None:
        raise UsageError('expected --lists or --annotations, got both')
    root = Path(args.root)
    try:
        alone = locked(root, IN_USE) if args.images else nullcontext()
        with alone:
            paths = prepare_lists(args, root)
            wanted = Wanted(args.benchmark, paths, args.all)
            prepare_images(args, root, wanted)
            check_complete(root, wanted, args.benchmark)
    except PreparationError as err:
        raise UsageError(str(err)) from None


def prepare_lists(args: argparse.Namespace, root: Path) -> list[str]:
    """Bring the lists into the layout.

    Returns:
        Paths of all listed images.

    Raises:
        UsageError: If a list is missing.
        PreparationError: If one is not the published.
    """
    paths = []
    for i, expected in enumerate(args.expected):
        path = find_list(root, expected.name)
        if path is None:
            path = _write_list(args, i, expected, root)
        listed = read_checked(path, expected, args.any_counts)
        how = 'accepted' if args.any_counts else 'as published'
        print(f'{path}: {len(listed):,} images, {how}', flush=True)
        paths += listed
    return paths


def _write_list(
    args: argparse.Namespace, i: int, expected: ListFile, root: Path
) -> Path:
    """Write a list from what the options name, once that is known to be good."""
    if args.annotations is not None:
        source = args.annotations[i]
        images, labels = read_annotations(source)
        check_list(source, images, labels, expected, args.any_counts)
        pairs = zip(images, labels.tolist(), strict=True)
        path = root / expected.name
        write_atomically(''.join(f'{image} {label}\n' for image, label in pairs), path)
        return path
    source = args.lists and find_list(args.lists, expected.name)
    if source is None:
        raise UsageError(
            f'expected {(args.lists or root) / expected.name}, got no such file; '
            '--lists FOLDER copies it from elsewhere (docs/datasets.md says where to '
            'get it)'
        )
    read_checked(source, expected, args.any_counts)
    path = root / source.name
    write_atomically(source.read_bytes(), path)
    return path


def prepare_images(args: argparse.Namespace, root: Path, wanted: Wanted) -> None:
    """Extract or link the images.

    Raises:
        UsageError: If the disk is too small, or a link is in the way.
        PreparationError: If a source is not what it should be.
    """
    pattern = args.benchmark.inner_archives
    archives: list[Path] = []
    for source in args.images:
        if not source.is_dir():
            archives.append(source)
            continue
        inside = list(archives_in(source, pattern))
        archives += inside
        if not inside:
            number, linked = link(source, root, wanted)
            how = f' ({", ".join(linked)} as a whole)' if linked else ''
            print(f'{source}: {number:,} images linked{how}', flush=True)
    if archives:
        _check_tops(root, wanted)
        _check_space(archives, root, wanted, args)
    total = sum(archive.stat().st_size for archive in archives)
    with progress_bar('extracting', total, in_bytes=True) as advance:
        done = [extract(one, root, wanted, pattern, advance) for one in archives]
    if archives:
        written, present, known = (
            sum(getattr(one, name) for one in done)
            for name in ('written', 'present', 'known')
        )
        left = known - written - present
        print(
            f'{written:,} images extracted, {present:,} were there'
            + (f'; {left:,} are on no list and left out (--all)' if left else ''),
            flush=True,
        )


def _check_tops(root: Path, wanted: Wanted) -> None:
    """Refuse to extract through a link into a folder that is somebody else's."""
    for top in sorted({place.split('/', 1)[0] for place in wanted}):
        if (root / top).is_symlink():
            raise UsageError(
                f'{root / top}: expected a folder to extract into, got a link to '
                f'{os.path.realpath(root / top)}; remove the link, or leave out the '
                'archives'
            )


def _check_space(
    archives: Sequence[Path], root: Path, wanted: Wanted, args: argparse.Namespace
) -> None:
    """Refuse to begin what a full disk would end."""
    needed = sum(archive.stat().st_size for archive in archives)
    missing = sum(not (root / place).is_file() for place in wanted)
    if not args.all or missing < len(wanted):
        # Of --all it is not known how much is there already.
        needed = min(needed, missing * args.benchmark.bytes_per_image)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise UsageError(
            f'{root}: expected about {needed / 1e9:,.1f} GB of free space, got '
            f'{free / 1e9:,.1f}'
        )


def check_complete(root: Path, wanted: Wanted, benchmark: Benchmark) -> None:
    """See that each listed image is there.

    Raises:
        UsageError: If images are missing or empty.
    """
    places = list(wanted)
    faults = image_faults([str(root / place) for place in places], 'exists')
    if faults:
        lines = (f'{place}: {fault}' for place, fault in faults.items())
        raise UsageError(
            f'{root}: expected all {len(places):,} listed images, got '
            f'{len(places) - len(faults):,}; missing:\n  '
            + first_few(lines, separator='\n  ')
            + f'\n--images takes {benchmark.sources}'
        )
    _remove_leftovers(root, places)
    print(f'{root}: all {len(places):,} listed images of {benchmark.title} are there')


def _remove_leftovers(root: Path, places: Sequence[str]) -> None:
    """Remove what a killed extraction left half written; what is linked is not ours."""
    folders = {
        (root / place).parent
        for place in places
        if not (root / place.split('/', 1)[0]).is_symlink()
    }
    for folder in folders:
        with suppress(OSError):
            remove_temporary_files(folder)
