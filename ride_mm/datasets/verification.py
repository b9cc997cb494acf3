"""Look at every image of a data set: what is broken, and what is there twice."""

import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from PIL import Image

from ..utils.progress import map_in_threads
from ..utils.wrapped import innermost_dataset
from .image_check import fault_of_size
from .samples import read_samples, sample_name

# What can be found, in the order of a report.
KINDS = {
    'set': 'sets that cannot be read or are not as the config expects',
    'classes': 'sets of other classes than the training set',
    'missing': 'missing files',
    'empty': 'empty files',
    'corrupt': 'images that cannot be decoded',
    'duplicate': 'images that occur again in their class',
    'conflict': 'images that occur in several classes of a set',
    'overlap': 'images that occur in two sets',
    'untrained': 'classes without a training image',
    'untested': 'classes without a test image',
}
PLAIN_MODES = ('1', 'L', 'P')


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        kind: One of :data:`KINDS`.
        where: The set, or two of them.
        message: What was found, naming images or classes.
    """

    kind: str
    where: str
    message: str


@dataclass(frozen=True)
class Look:
    """What an image is.

    Attributes:
        name: Its path, or its number where it is no file.
        label: Its class.
        class_name: Name of its class.
        digest: Of its pixels, which two images share only if they look the same; None
            if it cannot be decoded.
        fault: Kind of fault and what is wrong, or None.
    """

    name: str
    label: int
    class_name: str
    digest: bytes | None
    fault: tuple[str, str] | None


def look_at_all(dataset: Any, threads: int, what: str) -> list[Look]:
    """Decode every image of a data set.

    Args:
        dataset: A data set of MMPretrain or MMEngine, or ``LongTailed``, initialised.
        threads: How many images are decoded at a time.
        what: How to call it beside the bar.

    Returns:
        What each image is, (N,).

    Raises:
        ValueError: If the classes have no names, or a label is no class.
    """
    classes = dataset.metainfo.get('classes')
    if classes is None:
        raise ValueError('expected the names of the classes in metainfo, got none')
    labels, _, _ = read_samples(dataset, classes)
    load = loader_of(dataset)

    def look(position: int) -> Look:
        info = dataset.get_data_info(position)
        label = int(labels[position])
        name = sample_name(info, position)
        return Look(name, label, str(classes[label]), *_look_at(info, load))

    return map_in_threads(look, range(len(dataset)), threads, what)


def loader_of(dataset: Any) -> Callable[[dict], dict | None] | None:
    """The step of a pipeline that loads image files by other means than Pillow."""
    pipeline = getattr(innermost_dataset(dataset), 'pipeline', None)
    transforms = getattr(pipeline, 'transforms', ())
    for transform in transforms:
        if isinstance(transform, LoadImageFromFile):
            return None if transform.imdecode_backend == 'pillow' else transform
    return None


def _look_at(
    info: Mapping[str, Any], load: Callable[[dict], dict | None] | None
) -> tuple[bytes | None, tuple[str, str] | None]:
    """Digest and fault of an image by its record."""
    if 'img' in info:
        pixels = np.ascontiguousarray(info['img'])
        return _digest(f'{pixels.dtype} {pixels.shape}', pixels.data), None
    if not info.get('img_path'):
        return None, ('corrupt', f'expected img or img_path, got {sorted(info)}')
    path = info['img_path']
    local = '://' not in path
    fault = fault_of_size(path) if local else None
    if fault is not None:
        return None, ('empty' if os.path.isfile(path) else 'missing', fault)
    try:
        data = fileio.get(path)
        digest = pixel_digest(data)
        if load is not None and load({'img_path': path}) is None:
            raise ValueError('the pipeline loads nothing')
    except MemoryError:
        raise
    except FileNotFoundError as err:  # Of a remote file.
        return None, ('missing', str(err))
    except Exception as err:
        return None, ('corrupt', f'{type(err).__name__}: {err}')
    return digest, None


def pixel_digest(data: bytes) -> bytes:
    """Digest of the pixels of an image file, which its format does not matter to.

    Raises:
        Exception: Of many kinds, if it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode in PLAIN_MODES:
                # Others have more than eight bits, or transparency.
                see_through = 'transparency' in image.info
                image = image.convert('RGBA' if see_through else 'RGB')
            return _digest(f'{image.mode} {image.size}', image.tobytes())
    except Image.DecompressionBombError:
        # Only large; whether it can be loaded is the pipeline's matter.
        return _digest('file', data)


def _digest(kind: str, data: Any) -> bytes:
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    digest.update(data)
    return digest.digest()


def findings_of_set(
    name: str, looks: Sequence[Look], classes: Sequence[str], kind_of_empty: str | None
) -> Iterator[Finding]:
    """Name what is wrong within a set.

    Args:
        name: Of the set.
        looks: Its images, (N,).
        classes: Names of the C classes.
        kind_of_empty: What a class without an image is called, None if it may be.

    Yields:
        The findings.
    """
    for look in looks:
        if look.fault is not None:
            yield Finding(look.fault[0], name, f'{look.name}: {look.fault[1]}')
    for same in _by_digest(looks).values():
        if len(same) > 1:
            several = len({look.label for look in same}) > 1
            kind = 'conflict' if several else 'duplicate'
            yield Finding(kind, name, _named(same))
    if kind_of_empty is not None:
        counts = counts_of(looks, len(classes))
        for label in np.flatnonzero(counts == 0):
            yield Finding(kind_of_empty, name, f'{classes[label]} ({label})')


def findings_between(sets: Mapping[str, Sequence[Look]]) -> Iterator[Finding]:
    """Name images that occur in two sets, by their pixels or as the same file.

    Args:
        sets: Images of each set, by its name.

    Yields:
        A finding for each image and pair of sets.
    """
    for (name, looks), (other, others) in combinations(sets.items(), 2):
        mine, theirs = _by_digest(looks), _by_digest(others)
        for digest in mine:
            if digest in theirs:
                both = [*mine[digest], *theirs[digest]]
                yield Finding('overlap', f'{name} and {other}', _named(both))
        # Files that cannot be decoded have no digest.
        files = {os.path.realpath(look.name) for look in looks if look.fault}
        for look in others:
            if look.fault and os.path.realpath(look.name) in files:
                yield Finding('overlap', f'{name} and {other}', look.name)


def counts_of(looks: Iterable[Look], num_classes: int) -> np.ndarray:
    """Images of each class, (C,), int64."""
    labels = [look.label for look in looks]
    return np.bincount(np.array(labels, dtype=np.int64), minlength=num_classes)


def _by_digest(looks: Iterable[Look]) -> dict[bytes, list[Look]]:
    found = defaultdict(list)
    for look in looks:
        if look.digest is not None:
            found[look.digest].append(look)
    return found


def _named(looks: Iterable[Look]) -> str:
    return ' = '.join(f'{look.name} ({look.class_name})' for look in looks)
