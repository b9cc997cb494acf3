"""scikit-learn's handwritten digits: a real dataset that needs no download."""

from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from .imbalance import official_subset

SPLITS = ('train', 'test')


@DATASETS.register_module()
class Digits(BaseDataset):
    """The 1,797 handwritten digits that come with scikit-learn.

    For trying things out on a CPU, not for comparisons. Of each class
    ``test_per_class`` images chosen by a seeded shuffle are the balanced test part, all
    others (144 to 153 per class) are the training part.

    Each sample's record has the keys ``img`` (uint8, (16, 16, 3), three equal
    channels), ``gt_label`` and ``official_index``, its row in scikit-learn's file.

    Args:
        split: ``'train'`` or ``'test'``.
        test_per_class: Images of each class in the test part.
        seed: Seed of the choice of the test part.
        **kwargs: Further arguments of MMPretrain's ``BaseDataset``.

    Raises:
        ImportError: If scikit-learn is not installed.
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(
        self,
        split: str = 'train',
        test_per_class: int = 30,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f'split: expected one of {SPLITS}, got {split!r}')
        if test_per_class < 1:
            raise ValueError(
                f'test_per_class: expected at least 1, got {test_per_class}'
            )
        self.split = split
        self.test_per_class = test_per_class
        self.seed = seed
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        """One record per image of the split."""
        images, labels = load_digits()
        per_class = [self.test_per_class] * len(self.METAINFO['classes'])
        in_test = np.zeros(len(labels), dtype=bool)
        in_test[official_subset(labels, per_class, self.seed)] = True
        return [
            {'img': images[i], 'gt_label': int(labels[i]), 'official_index': int(i)}
            for i in np.flatnonzero(in_test == (self.split == 'test'))
        ]

    def extra_repr(self) -> list[str]:
        """What the dataset's text form says beyond its size."""
        return [f'Split: \t{self.split}']


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """All images, uint8 (1797, 16, 16, 3), and labels, (1797,), from scikit-learn."""
    try:
        from sklearn import datasets
    except ImportError as err:
        raise ImportError(
            'Digits needs scikit-learn, which is not installed: '
            'run `pip install scikit-learn`'
        ) from err
    digits = datasets.load_digits()
    grey = double(double(digits.images * (255 / 16), axis=1), axis=2)
    grey = np.rint(grey).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1), digits.target


def double(image: np.ndarray, axis: int) -> np.ndarray:
    """Upscale by 2 along one axis, bilinear with aligned corners of pixels."""
    image = np.moveaxis(image, axis, -1)
    edges = np.concatenate([image[..., :1], image, image[..., -1:]], axis=-1)
    before = 0.75 * image + 0.25 * edges[..., :-2]
    after = 0.75 * image + 0.25 * edges[..., 2:]
    doubled = np.stack([before, after], axis=-1).reshape(*image.shape[:-1], -1)
    return np.moveaxis(doubled, -1, axis)
