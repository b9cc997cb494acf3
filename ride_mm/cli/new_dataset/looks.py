"""What the images of a source look like, and which of them cannot be used."""

import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

import mmcv
from mmengine.utils import track_iter_progress
from PIL import Image

from ...datasets.image_check import CHECKS
from ...utils.listing import first_few
from ...utils.machine import usable_processors
from ..errors import UsageError
from .source import Source, fault_of_name

MANY = 2000
# Of Pillow's modes; what is not named here is colour as usual.
KINDS = {
    '1': 'black and white',
    'L': 'grey',
    'LA': 'grey with transparency',
    'La': 'grey with transparency',
    'P': 'palette',
    'PA': 'palette',
    'RGBA': 'RGBA',
    'RGBa': 'RGBA',
    'CMYK': 'CMYK',
    'F': 'floating point',
    'I': '16 bit or more',
}
USUAL_FORMATS = ('JPEG', 'PNG', 'BMP', 'PPM', 'WEBP', 'MPO')


@dataclass(frozen=True)
class Look:
    """What one image file is.

    Attributes:
        size: Width and height in pixels; None if it cannot be opened.
        kind: Such as ``'grey'``; None for usual colour.
        fault: Why it cannot be used, None if it can.
    """

    size: tuple[int, int] | None = None
    kind: str | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Looks:
    """What the images are, together.

    Attributes:
        smallest: Width and height of the image with the fewest pixels.
        largest: Of the one with the most.
        short_side: Median of the shorter sides in pixels.
        kinds: Images by kind, those of usual colour left out.
        faults: Why images cannot be used, by relative path.
    """

    smallest: tuple[int, int]
    largest: tuple[int, int]
    short_side: float
    kinds: Counter[str]
    faults: dict[str, str]


def look_at(root: str, path: str, how: str = 'decode') -> Look:
    """Look at one image file.

    Args:
        root: Folder that the path starts from.
        path: Relative path.
        how: Of :func:`~ride_mm.datasets.image_check.check_images`.
    """
    fault = fault_of_name(path)
    if fault is not None:
        return Look(fault=fault)
    full = os.path.join(root, path)
    fault = CHECKS[how](full)
    if fault is not None:
        return Look(fault=fault)
    try:
        with Image.open(full) as image:
            kind, size, form = image.mode, image.size, image.format
    except Exception as err:  # Of a file too large to be opened by Pillow.
        return Look(fault=f'{type(err).__name__}: {err}')
    kind = '16 bit or more' if kind.startswith('I;') else KINDS.get(kind)
    if form not in USUAL_FORMATS or kind == 'floating point':
        fault = fault_of_loading(full, form)
    return Look(size, kind, fault)


def fault_of_loading(path: str, form: str) -> str | None:
    """Why training could not load an image that Pillow can, such as a GIF."""
    try:
        image = mmcv.imread(path)
    except Exception as err:
        return f'{form} that cannot be loaded ({type(err).__name__}: {err})'
    if image is None:
        return f'{form}, which OpenCV cannot load; convert it'
    return None


def look_at_all(source: Source, how: str = 'decode') -> Looks:
    """Look at all images of a source.

    Raises:
        UsageError: If none can be used.
    """
    paths = source.paths()
    with ThreadPoolExecutor(min(16, usable_processors() * 2)) as pool:
        results = pool.map(lambda path: look_at(source.root, path, how), paths)
        if len(paths) > MANY and sys.stderr.isatty():
            results = track_iter_progress((results, len(paths)), file=sys.stderr)
        looks = dict(zip(paths, results, strict=True))
    faults = {path: look.fault for path, look in looks.items() if look.fault}
    sizes = sorted(
        (look.size for look in looks.values() if not look.fault),
        key=lambda size: size[0] * size[1],
    )
    if not sizes:
        raise UsageError(
            f'{source.root}: expected images that can be read, got '
            f'{len(faults)} that cannot\n{lines_of_faults(faults)}'
        )
    kinds = Counter(
        look.kind for look in looks.values() if look.kind and not look.fault
    )
    return Looks(sizes[0], sizes[-1], median(map(min, sizes)), kinds, faults)


def drop_unreadable(source: Source, looks: Looks, skip: bool) -> None:
    """Leave out the images that cannot be used, if that is wanted.

    Args:
        source: Is changed.
        looks: Of :func:`look_at_all`.
        skip: Whether to leave them out.

    Raises:
        UsageError: If there are some and it is not wanted, with their names; or if a
            class had no training image any more.
    """
    faults = looks.faults
    if not faults:
        return
    if not skip:
        raise UsageError(
            f'{len(faults):,} of {len(source.paths()):,} images cannot be used:\n'
            f'{lines_of_faults(faults)}\nMend or remove them, or leave them out with '
            '--skip-unreadable'
        )
    before = {part: source.counts(part) for part in source.parts}
    for part, images in source.parts.items():
        source.parts[part] = [image for image in images if image[0] not in faults]
    for part, counts in before.items():
        after = source.counts(part)
        lost = [source.classes[c] for c, n in enumerate(counts) if n and not after[c]]
        if lost and part not in ('val', 'test'):
            raise UsageError(
                f'--skip-unreadable: expected an image of each class to be left, got '
                f'none of {", ".join(map(repr, lost))}; mend its images, or remove the '
                f'class\n{lines_of_faults(faults)}'
            )
        if not any(after):
            raise UsageError(f'--skip-unreadable: no image of the part {part} is left')


def lines_of_faults(faults: dict[str, str]) -> str:
    """The first images that cannot be used, a line for each."""
    lines = (f'{path!r}: {fault}' for path, fault in faults.items())
    return '  ' + first_few(lines, 10, '\n  ')
