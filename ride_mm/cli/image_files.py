"""Which image files a command line means."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from ..utils.files import files_below
from .errors import UsageError

# Those that the configs for folders of images take.
IMAGE_SUFFIXES = (
    '.jpg',
    '.jpeg',
    '.png',
    '.bmp',
    '.ppm',
    '.pgm',
    '.tif',
    '.tiff',
    '.webp',
)


def find_images(names: Sequence[str]) -> list[str]:
    """Find the images that files, folders and patterns name, each once.

    Args:
        names: Files, which are taken whatever they are called, and whether they exist
            or not; folders, which are searched through all their levels for images; and
            patterns such as ``'photos/**/*.jpg'``, whose matches are taken likewise,
            but of files only images. Hidden files and folders are passed over.

    Returns:
        Their paths, in the order of the names, within a folder by name.

    Raises:
        UsageError: If a folder has no image or a pattern no match.
    """
    found: dict[str, str] = {}
    for name in names:
        for path in _images_of(os.path.expanduser(name)):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def is_image(path: str | Path) -> bool:
    """Whether a file's name is that of an image."""
    path = Path(path)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith('.')


def _images_of(name: str) -> list[str]:
    if os.path.isdir(name):
        paths = list(filter(is_image, files_below(name)))
        if not paths:
            raise UsageError(
                f'{name}: expected a folder with images ({" ".join(IMAGE_SUFFIXES)}), '
                'got none in it'
            )
        return paths
    if os.path.lexists(name) or not glob.has_magic(name):
        return [name]
    paths = []
    matches = sorted(glob.glob(name, recursive=True))
    for match in matches:
        if os.path.isdir(match):
            paths += filter(is_image, files_below(match))
        elif is_image(match):
            paths.append(match)
    if not paths:
        raise UsageError(
            f'{name}: expected a pattern that matches images '
            f'({" ".join(IMAGE_SUFFIXES)}), got '
            + (f'{len(matches)} of other names' if matches else 'no match')
            + '; a file that is named itself is taken whatever its suffix'
        )
    return paths
