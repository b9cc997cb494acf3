"""Look at every image file before the first batch.

No run should die in its third hour of a file that was missing from the start.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.utils import track_iter_progress
from PIL import Image

from ..utils.listing import first_few
from ..utils.machine import usable_processors

MANY_FILES = 5000
LAST_BYTES = {'JPEG': b'\xff\xd9', 'PNG': b'IEND\xaeB`\x82'}


def fault_of_size(path: str) -> str | None:
    """What is wrong with a file, judged by its existence and size."""
    if not os.path.isfile(path):
        return 'no such file'
    if os.path.getsize(path) == 0:
        return 'the file is empty'
    return None


def fault_of_header(path: str) -> str | None:
    """What is wrong with an image file, judged by its header and its last bytes."""
    return fault_of_size(path) or _fault_of_image(path, decode=False)


def fault_of_pixels(path: str) -> str | None:
    """What is wrong with an image file, judged by decoding all of it."""
    return fault_of_size(path) or _fault_of_image(path, decode=True)


def _fault_of_image(path: str, decode: bool) -> str | None:
    try:
        with Image.open(path) as image:
            # Some good files have something after their end; decoding tells.
            if decode or not _ends_as(path, LAST_BYTES.get(image.format, b'')):
                image.load()
    except Image.DecompressionBombError:
        return None  # Only large; whether it can be loaded is the pipeline's matter.
    except Exception as err:
        return f'not a complete image ({type(err).__name__}: {err})'
    return None


def _ends_as(path: str, last: bytes) -> bool:
    with open(path, 'rb') as file:
        file.seek(max(0, os.path.getsize(path) - len(last)))
        return file.read() == last


CHECKS: dict[str, Callable[[str], str | None] | None] = {
    'none': None,
    'exists': fault_of_size,
    'open': fault_of_header,
    'decode': fault_of_pixels,
}


def image_faults(paths: Sequence[str], how: str = 'open') -> dict[str, str]:
    """Look at image files, each once.

    Remote paths (with a ``://``) are not looked at.

    Args:
        paths: Paths of the image files.
        how: ``'none'``; ``'exists'``: each file is there and not empty; ``'open'``: it
            also has the header of an image, and a JPEG or PNG its end (cv2 decodes a
            cut JPEG silently to a half grey image); ``'decode'``: it can be decoded.

    Returns:
        What is wrong, by path, of the files that are unusable.

    Raises:
        ValueError: If ``how`` is unknown.
    """
    if how not in CHECKS:
        raise ValueError(f'check_images: expected one of {tuple(CHECKS)}, got {how!r}')
    fault_of = CHECKS[how]
    local = _local(paths)
    if fault_of is None or not local:
        return {}
    with ThreadPoolExecutor(min(16, usable_processors() * 4)) as pool:
        results = pool.map(fault_of, local)
        if len(local) > MANY_FILES and is_main_process():
            print_log(f'Checking {len(local):,} image files ({how}).', logger='current')
            if sys.stderr.isatty():
                results = track_iter_progress((results, len(local)), file=sys.stderr)
        pairs = zip(local, results, strict=True)
        return {path: fault for path, fault in pairs if fault}


def check_images(paths: Sequence[str], how: str = 'open', hint: str = '') -> None:
    """Refuse a dataset with unusable image files.

    Args:
        paths: Paths of the image files.
        how: See :func:`image_faults`.
        hint: What else may be done about them, to go on the end of the error.

    Raises:
        ValueError: If ``how`` is unknown.
        RuntimeError: If files are unusable; it names the first five and their number.
    """
    faults = image_faults(paths, how)
    if faults:
        raise RuntimeError(
            f'{describe_faults(faults, len(_local(paths)))}\n'
            'Replace them or take them off the list'
            + ("; check_images='exists' does not open them" if how != 'exists' else '')
            + hint
        )


def describe_faults(faults: Mapping[str, str], number: int) -> str:
    """Name the first five of the unusable files among ``number``."""
    heading = f'{len(faults)} of {number} image files are unusable:'
    lines = (f'{path}: {fault}' for path, fault in faults.items())
    return f'{heading}\n  ' + first_few(lines, separator='\n  ')


def _local(paths: Sequence[str]) -> list[str]:
    return [path for path in dict.fromkeys(paths) if '://' not in path]
