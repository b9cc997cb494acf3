"""Datasets by list files, such as ImageNet-LT, iNaturalist 2018 and Places-LT."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset, ImageNet
from mmpretrain.registry import DATASETS

from .image_check import check_images
from .imbalance import class_counts_of
from .list_reading import read_list, read_text, split_lines


def names_of_classes(
    classes: str | Sequence[str] | None, num_classes: int | None
) -> tuple[str, ...]:
    """Name the classes.

    Args:
        classes: Names, or the path of a text file with one name a line, or None.
        num_classes: Number of classes C; without names they are called ``'class 0'`` to
            ``'class C-1'``.

    Returns:
        Names, (C,).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If nothing is given, a name is empty, or the two do not agree.
    """
    if num_classes is not None and (
        not isinstance(num_classes, int)
        or isinstance(num_classes, bool)
        or num_classes < 1
    ):
        raise ValueError(f'num_classes: expected a positive integer, got {num_classes}')
    if classes is None:
        if num_classes is None:
            raise ValueError('expected classes or num_classes, got neither')
        return tuple(f'class {c}' for c in range(num_classes))
    source = 'classes'
    if isinstance(classes, str):
        source, text = read_text(os.path.expanduser(classes))
        classes = split_lines(text)
    names = tuple(str(name).strip() for name in classes)
    if '' in names or not names:
        where = f', name {names.index("") + 1} is empty' if names else ', got none'
        raise ValueError(f'{source}: expected the name of each class{where}')
    if num_classes not in (None, len(names)):
        raise ValueError(
            f'{source}: expected as many names as num_classes={num_classes}, got '
            f'{len(names)}'
        )
    return names


def image_number(path: str, label: int) -> int:
    """A number for an image of a list that is the same wherever its line stands.

    With it the order of a list matters neither to its hash nor to augmentation.

    Returns:
        Sixty-three bits of a hash of the line.
    """
    line = f'{path} {label}'.encode()
    digest = hashlib.blake2b(line, digest_size=8).digest()
    return int.from_bytes(digest, 'little') >> 1


def counts_hash(class_counts: Sequence[int]) -> str:
    """Sixteen hexadecimal digits that identify class counts, (C,), label by label."""
    data = np.asarray(class_counts, dtype='<i8').tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


@DATASETS.register_module()
class LTListFile(BaseDataset):
    """Images named by a list file, one line ``relative/path label`` for each.

    :func:`~ride_mm.datasets.list_reading.read_list` tells the form. Each sample's
    record has the keys ``img_path``, ``gt_label`` and ``official_index``, a number that
    follows from the line alone; so ``LongTailed.hash`` identifies the lines of a list,
    in any order.

    Args:
        ann_file: The list file, below ``data_root`` unless absolute; ``.gz`` behind its
            name may be left out.
        data_root: Folder of list and images.
        data_prefix: Folder below ``data_root`` that the paths of the list start from.
        classes: Names of the C classes, or a text file with one name a line.
        num_classes: Number of classes C, where no names are given.
        metainfo: Of MMPretrain's ``BaseDataset``; may hold the names of the classes.
        allow_empty: Whether a class may have no image. By default in test mode only.
        expected_counts: Refuse a list with other class counts than those with this
            :func:`counts_hash`.
        probe: Images, evenly spaced over the list, that have to exist; 0 for none. It
            tells a wrong folder at once. ``LongTailed`` and ``DatasetCheckHook`` look
            at all of them.
        **kwargs: Further arguments of MMPretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If there is no list file.
        RuntimeError: If images that were looked for do not exist; it names them.
        ValueError: If an argument or a line of the list is wrong, a class has no image,
            or the class counts are not those expected.
    """

    METAINFO: dict = {}

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: str | dict = '',
        classes: str | Sequence[str] | None = None,
        num_classes: int | None = None,
        metainfo: dict | None = None,
        allow_empty: bool | None = None,
        expected_counts: str | None = None,
        probe: int = 16,
        **kwargs: Any,
    ) -> None:
        if not ann_file:
            raise ValueError(f'ann_file: expected a list file, got {ann_file!r}')
        ann_file, data_root = map(os.path.expanduser, (ann_file, data_root))
        if probe < 0:
            raise ValueError(f'probe: expected a number >= 0, got {probe}')
        if classes is None:
            classes = {**self.METAINFO, **(metainfo or {})}.get('classes')
        names = names_of_classes(classes, num_classes)
        self.allow_empty = allow_empty
        self.expected_counts = expected_counts
        self.probe = probe
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix,
            metainfo={**(metainfo or {}), 'classes': names},
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """One record per line of the list."""
        classes = self.metainfo['classes']
        images, labels = self.read()
        self._check_counts(labels, classes)
        prefix = self.img_prefix
        folder = prefix if not prefix or prefix.endswith('/') else f'{prefix}/'
        paths = [folder + image for image in images]
        places = np.linspace(0, len(paths) - 1, min(self.probe, len(paths)), dtype=int)
        check_images([paths[place] for place in places], 'exists')
        return [
            {
                'img_path': path,
                'gt_label': label,
                'official_index': image_number(image, label),
            }
            for path, image, label in zip(paths, images, labels.tolist(), strict=True)
        ]

    def read(self) -> tuple[list[str], np.ndarray]:
        """Read the list: N relative paths, and labels (N,), int64."""
        return read_list(self.ann_file, len(self.metainfo['classes']))

    def _check_counts(self, labels: np.ndarray, classes: Sequence[str]) -> None:
        allow = self.test_mode if self.allow_empty is None else self.allow_empty
        try:
            counts = class_counts_of(labels, classes, allow_empty=allow)
        except ValueError as err:
            raise ValueError(f'{self.ann_file}: {err}') from None
        got = counts_hash(counts)
        if self.expected_counts not in (None, got):
            raise ValueError(
                f'{self.ann_file}: expected_counts is {self.expected_counts!r}, got '
                f'{got!r}: {len(labels):,} images, {len(classes):,} classes with '
                f'{counts.max():,}..{counts.min():,}; if this list is meant, set '
                f'expected_counts={got!r}, or None to accept any'
            )


@DATASETS.register_module()
class LTImageNet(LTListFile):
    """:class:`LTListFile` with the names of ImageNet's classes, for ImageNet-LT.

    Labels 0 to 999 are the WordNet identifiers in their order, as in ImageNet.
    """

    METAINFO = ImageNet.METAINFO
