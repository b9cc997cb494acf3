"""CIFAR-10 and CIFAR-100 from files that are checked before they are believed."""

import hashlib
import os.path as osp
from typing import Any

import mmengine.dist as dist
import numpy as np
from mmengine.fileio import LocalBackend, exists, get, get_file_backend, join_path
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmpretrain.datasets.utils import download_and_extract_archive
from mmpretrain.registry import DATASETS

from ..utils.folders import missing_folders, remove_empty
from .safe_pickle import load_plain


@DATASETS.register_module()
class LTCIFAR10(CIFAR10):
    """CIFAR-10 with files that are checked, numbered and never overwritten.

    Reads the files of the asked split only, and no pickle is executed. What differs
    from MMPretrain's CIFAR10:

    - A file with another md5 than the published one is refused, or, with
      ``check_md5=False``, taken as it is. Nothing is ever downloaded over it.
    - The archive is downloaded only where there is none of the dataset's files.
    - A file may be a subset and say so by the key ``indices``, the official index of
      each of its rows.
    - Images are BGR, as MMPretrain loads all others, so that a model meets the same
      order in an image file; the preprocessor needs ``to_rgb=True``.

    Each sample's record has the keys ``img`` (uint8, (32, 32, 3), BGR), ``gt_label``
    and ``official_index``.

    Args:
        data_root: Folder that holds, or is to hold, ``cifar-10-batches-py``.
        split: ``'train'`` or ``'test'``.
        check_md5: Whether to refuse files that differ from the published ones.
        download: Whether to download the archive if there is no file at all.
        **kwargs: Further arguments of MMPretrain's ``CIFAR10``.
    """

    official_sizes = {'train': 50000, 'test': 10000}
    label_key = 'labels'

    def __init__(
        self,
        data_root: str = '',
        split: str = 'train',
        check_md5: bool = True,
        download: bool = True,
        **kwargs: Any,
    ) -> None:
        if split not in self.official_sizes:
            raise ValueError(
                f'split: expected one of {tuple(self.official_sizes)}, got {split!r}'
            )
        self.check_md5 = check_md5
        super().__init__(
            data_root=osp.expanduser(data_root),
            split=split,
            download=download,
            **kwargs,
        )

    @property
    def official_indices(self) -> np.ndarray:
        """Row of each sample in the official files, (N,), int64."""
        infos = (self.get_data_info(i) for i in range(len(self)))
        return np.array([info['official_index'] for info in infos], dtype=np.int64)

    @property
    def subset_indices(self) -> np.ndarray | None:
        """``official_indices`` if the file holds a part of the official images only."""
        self.full_init()
        return self.official_indices if self._is_subset else None

    def load_data_list(self) -> list[dict]:
        """Read the files of the split.

        Returns:
            One record per image.

        Raises:
            FileNotFoundError: If files are missing.
            ValueError: If a file is not what it should be.
        """
        self._find_files()
        parts = [self._load_file(self._path(f), md5) for f, md5 in self._split_files()]
        images, labels, indices = (
            np.concatenate(part) for part in zip(*parts, strict=True)
        )
        self._is_subset = bool((indices >= 0).any()) and (
            len(indices) < self.official_sizes[self.split]
        )
        if (indices < 0).all():  # No file numbers its rows: they are the official ones.
            indices = np.arange(len(images))
        elif (indices < 0).any() or len(np.unique(indices)) < len(indices):
            raise ValueError(
                f'{self._path()}: expected indices in every file and each row once, '
                f'got rows without a number or repeated'
            )
        return [
            {'img': img, 'gt_label': int(label), 'official_index': int(index)}
            for img, label, index in zip(images, labels, indices, strict=True)
        ]

    def _split_files(self) -> list[tuple[str, str]]:
        """Names of the split's files and their published md5."""
        return self.train_list if self.split == 'train' else self.test_list

    def _path(self, *names: str) -> str:
        return join_path(self.data_prefix['root'], self.base_folder, *names)

    def _find_files(self) -> None:
        """Make sure that the split's files are there; download if nothing is."""
        everything = [file for file, _ in (*self.train_list, *self.test_list)]
        found = any(exists(self._path(f)) for f in (*everything, self.meta['filename']))
        # All processes meet before and after, so that none sees half of a download.
        dist.barrier()
        cause = None
        if self.download and not found and dist.is_main_process():
            cause = self._download()
        dist.barrier()
        missing = [f for f, _ in self._split_files() if not exists(self._path(f))]
        if missing:
            if found:
                why = 'nothing is downloaded beside files that are already there'
            elif not self.download:
                why = 'download=False'
            else:
                why = f'the download failed: {cause}'
            raise FileNotFoundError(
                f'{type(self).__name__}: expected {", ".join(missing)} in '
                f'{self._path()}, got no such file ({why}). Fetch {self.url} and '
                f'unpack it in {self.data_prefix["root"]}.'
            ) from cause

    def _download(self) -> Exception | None:
        """Fetch and unpack the archive, or return why that failed."""
        root = self.data_prefix['root']
        missing = missing_folders(root)
        try:
            if not isinstance(get_file_backend(root), LocalBackend):
                raise ValueError(f'{root} is not a local folder')
            download_and_extract_archive(
                self.url, root, filename=self.filename, md5=self.tgz_md5
            )
        except Exception as err:
            # Raised by all processes together, after they have met.
            remove_empty(missing)
            return err
        return None

    def _load_file(
        self, path: str, md5: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images (N, 32, 32, 3), labels (N,) and official indices (N,) of one file.

        The indices are -1 where the file gives none.
        """
        data = get(path)
        got = hashlib.md5(data).hexdigest()
        if self.check_md5 and got != md5:
            raise ValueError(
                f'{path}: expected the published file with md5 {md5}, got {got}; '
                f'check_md5=False accepts it as it is'
            )
        entry = load_plain(data, path)
        for key in ('data', self.label_key):
            if key not in entry:
                raise ValueError(
                    f'{path}: expected the key {key!r}, got {sorted(entry)}'
                )
        images = _images(entry['data'], path)
        labels = _integers(entry[self.label_key], self.label_key, len(images), path)
        _in_range(labels, len(self.CLASSES), self.label_key, path)
        if 'indices' not in entry:
            return images, labels, np.full(len(images), -1)
        indices = _integers(entry['indices'], 'indices', len(images), path)
        _in_range(indices, self.official_sizes[self.split], 'indices', path)
        return images, labels, indices


@DATASETS.register_module()
class LTCIFAR100(LTCIFAR10, CIFAR100):
    """CIFAR-100 with files that are checked, numbered and never overwritten.

    See :class:`LTCIFAR10`; the folder is ``cifar-100-python``.
    """

    # LTCIFAR10 comes first in the order of resolution, but these facts are CIFAR-100's.
    base_folder = CIFAR100.base_folder
    url = CIFAR100.url
    filename = CIFAR100.filename
    tgz_md5 = CIFAR100.tgz_md5
    train_list = CIFAR100.train_list
    test_list = CIFAR100.test_list
    meta = CIFAR100.meta
    METAINFO = CIFAR100.METAINFO
    label_key = 'fine_labels'


def _images(values: Any, path: str) -> np.ndarray:
    """``values``, RGB planes, as uint8 (N, 32, 32, 3) in BGR."""
    is_array = isinstance(values, np.ndarray)
    got = f'{values.dtype} {values.shape}' if is_array else type(values).__name__
    if not is_array or values.dtype != np.uint8 or values.shape[1:] != (3072,):
        raise ValueError(f'{path}: expected data of uint8 (N, 3072), got {got}')
    bgr = values.reshape(-1, 3, 32, 32)[:, ::-1]
    return np.ascontiguousarray(bgr.transpose(0, 2, 3, 1))


def _integers(values: Any, key: str, length: int, path: str) -> np.ndarray:
    """``values`` as int64 (length,)."""
    try:
        array = np.asarray(values)
    except ValueError as err:
        raise ValueError(f'{path}: expected integer {key}, got a ragged list') from err
    if array.shape != (length,):
        raise ValueError(
            f'{path}: expected {length} {key}, one per image, got shape {array.shape}'
        )
    if length and array.dtype.kind not in 'iu':
        raise ValueError(f'{path}: expected integer {key}, got {array.dtype}')
    return array.astype(np.int64)


def _in_range(values: np.ndarray, end: int, key: str, path: str) -> None:
    wrong = np.flatnonzero((values < 0) | (values >= end))
    if len(wrong):
        raise ValueError(
            f'{path}: expected {key} in [0, {end - 1}], got {values[wrong[0]]} '
            f'in row {wrong[0]}'
        )
