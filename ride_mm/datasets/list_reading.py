"""Read a list file, one line ``relative/path label`` for each image.

The form in which ImageNet-LT and Places-LT are published (Liu et al., OLTR, CVPR 2019,
https://github.com/zhmiao/OpenLongTailRecognition-OLTR), and the lists of iNaturalist
2018 (https://github.com/facebookresearch/classifier-balancing).
"""

import gzip
import os
import posixpath
import re
import zlib

import numpy as np
from mmengine import fileio

GZIP_MAGIC = b'\x1f\x8b'
# A path with a part that is empty, '.' or '..', with a drive, or an address.
UNUSUAL_PATH = re.compile(r'(?:^|[\\/])\.{0,2}(?:[\\/]|$)|^[A-Za-z]:[\\/]|://')
ABSOLUTE_PATH = re.compile(r'[\\/]|[A-Za-z]:[\\/]|[^/]*://')


def read_list(path: str, num_classes: int) -> tuple[list[str], np.ndarray]:
    """Read a list file, plain or gzipped.

    The label is what follows the last blank of a line, so that paths may contain
    blanks. Empty lines at the end are passed over. Where ``path`` does not exist,
    ``path + '.gz'`` is read.

    Args:
        path: Path or address of the list file, UTF-8.
        num_classes: Number of classes C.

    Returns:
        N relative paths, and labels (N,), int64.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a list, or a line has no path and label, a label
            that is not an integer from 0 to C - 1, or a path that is absolute, has a
            ``..``, or was listed before; it names file and line.
    """
    path, text = read_text(path)
    lines = split_lines(text)
    if not lines:
        raise ValueError(f"{path}: expected lines 'path label', got none")
    labels_of: dict[str, int] = {}
    line_of: dict[str, int] = {}
    labels = np.empty(len(lines), dtype=np.int64)
    for number, line in enumerate(lines, 1):
        try:
            image, word = split_line(line)
            if word not in labels_of:
                labels_of[word] = parse_label(word, num_classes)
            if UNUSUAL_PATH.search(image):
                image = inner_path(image)
            if line_of.setdefault(image, number) != number:
                raise ValueError(
                    f'expected each path once, got {image!r} again, which is on line '
                    f'{line_of[image]}'
                )
        except ValueError as err:
            raise ValueError(f'{path}, line {number}: {err}') from None
        labels[number - 1] = labels_of[word]
    return list(line_of), labels


def read_text(path: str) -> tuple[str, str]:
    """Read a UTF-8 text, plain or gzipped.

    Args:
        path: Path or address; a missing path is tried with ``.gz`` behind it.

    Returns:
        The path that was read, and its text.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is cut, or no text.
    """
    if '://' not in path and not os.path.isfile(path):
        zipped = f'{path}.gz'
        if not os.path.isfile(zipped):
            raise FileNotFoundError(f'expected {path} or {zipped}, got neither')
        path = zipped
    data = fileio.get(path)
    try:
        if data.startswith(GZIP_MAGIC):
            data = gzip.decompress(data)
        text = data.decode('utf-8-sig')
    except (OSError, EOFError, zlib.error) as err:
        raise ValueError(f'{path}: expected a complete gzip file, got {err}') from err
    except UnicodeDecodeError as err:
        raise ValueError(
            f'{path}: expected a text in UTF-8, got {err}; save it as UTF-8 (in Excel '
            "'CSV UTF-8')"
        ) from err
    if '\0' in text:
        raise ValueError(f'{path}: expected a text, got one with zero bytes')
    return path, text


def split_lines(text: str) -> list[str]:
    """Lines of a text, whatever ends them, without empty ones at the end."""
    lines = text.replace('\r\n', '\n').replace('\r', '\n').split('\n')
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def split_line(line: str) -> tuple[str, str]:
    """Split a line at its last blank into path and label."""
    parts = line.rsplit(None, 1)
    if len(parts) != 2 or not parts[0].strip():
        raise ValueError(f"expected 'path label', got {line!r}")
    return parts[0], parts[1]


def is_integer(word: str) -> bool:
    """Whether a word is an integer in plain digits."""
    digits = word.removeprefix('-')
    return digits.isascii() and digits.isdecimal()


def parse_label(word: str, num_classes: int) -> int:
    """Read a label.

    Raises:
        ValueError: If it is not an integer from 0 to ``num_classes - 1``.
    """
    if not is_integer(word):
        raise ValueError(f'expected an integer as label, got {word!r}')
    if not 0 <= int(word) < num_classes:
        raise ValueError(f'expected a label in [0, {num_classes - 1}], got {word}')
    return int(word)


def inner_path(path: str) -> str:
    """Normalise a relative path.

    Raises:
        ValueError: If it is absolute or an address, has a ``..``, or is no file's.
    """
    if ABSOLUTE_PATH.match(path):
        raise ValueError(f'expected a relative path, got {path!r}')
    parts = re.split(r'[\\/]', path)
    if '..' in parts:
        raise ValueError(f"expected a path without '..', got {path!r}")
    if parts[-1] in ('', '.'):
        raise ValueError(f'expected the path of a file, got {path!r}')
    return posixpath.normpath(path)
