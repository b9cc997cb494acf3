"""A long-tailed view of any dataset."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset

from ..utils.shots import shot_groups
from .image_check import CHECKS, check_images, describe_faults, image_faults
from .imbalance import IMBALANCES, class_counts_of, held_out_split, subset_hash
from .samples import load_sample, read_samples
from .subset import (
    check_hash,
    check_held_out,
    check_is_known,
    check_one_of,
    choose_subset,
    describe_subset,
    known_hashes,
)
from .unreadable import POLICIES, Replacements

PARTS = ('train', 'val')
NOT_SET = -1
SKIP = "; unreadable='skip' puts others of their class in their place"


@DATASETS.register_module()
class LongTailed:
    """A dataset of single-label images that knows its class counts.

    With ``imbalance`` a long-tailed subset of a balanced dataset is chosen exactly as
    Cao et al. do; without, the dataset is taken as it is, such as ImageNet-LT,
    iNaturalist or a folder of yours.

    ``held_out`` keeps some images of each class from training, for choosing a
    checkpoint without the test set: two ``LongTailed`` with the same settings and
    ``part='train'`` and ``part='val'`` never share an image.

    Augmentation depends on (seed, epoch, image) alone once :meth:`set_epoch` has been
    called: in workers, persistent or not, and in the main process alike. A dataset in
    test mode is left alone. An image that cannot be loaded is an error which names it,
    or, with ``unreadable='skip'``, is replaced by another one of its class and counted.

    Args:
        dataset: The wrapped dataset or its config.
        imbalance: ``'exp'``, ``'step'`` or None for the dataset as it is.
        factor: Imbalance factor, largest over smallest class.
        n_max: Images of the largest class under ``imbalance``. Defaults to the size of
            the smallest class, which for a balanced dataset is every class's size.
        seed: Seed of the choice; the published subsets have 0.
        expected_hash: Refuse any other subset than the one with this
            :func:`~ride_mm.datasets.imbalance.subset_hash`. It is taken before
            ``held_out``, thus the same for both parts. Also a dictionary with the
            hashes of several settings, ``{'exp-100': ..., 'step-50': ...}``; other
            settings are then not checked.
        held_out: Arguments of :func:`~ride_mm.datasets.imbalance.held_out_split`, such
            as ``dict(fraction=0.1)`` or ``dict(per_class=5, seed=0)``.
        part: ``'train'``, or ``'val'`` for the held-out images.
        check_images: How the image files of a training set are looked at beforehand,
            see :func:`~ride_mm.datasets.image_check.check_images`. Every process looks,
            so that none waits for another that failed.
        allow_empty: Whether a class may have no training image.
        unreadable: ``'stop'`` at a training image that cannot be loaded, or ``'skip'``
            it: :class:`~ride_mm.datasets.unreadable.Replacements` puts another of its
            class there, and ``UnreadableImagesHook`` says which. Then files that do not
            pass ``check_images`` are named and replaced, unless a class has no other.
            In test mode nothing is skipped.
        lazy_init: Whether to load nothing before :meth:`full_init`.
    """

    METAINFO: dict = {}

    def __init__(
        self,
        dataset: dict | Dataset,
        imbalance: str | None = None,
        factor: float = 100.0,
        n_max: int | None = None,
        seed: int = 0,
        expected_hash: str | dict[str, str] | None = None,
        held_out: dict | None = None,
        part: str = 'train',
        check_images: str = 'open',
        allow_empty: bool = False,
        unreadable: str = 'stop',
        lazy_init: bool = False,
    ) -> None:
        super().__init__()
        check_one_of('imbalance', imbalance, (*IMBALANCES, None))
        check_one_of('part', part, PARTS)
        check_one_of('check_images', check_images, tuple(CHECKS))
        check_one_of('unreadable', unreadable, POLICIES)
        check_held_out(held_out, part)
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        if not hasattr(self.dataset, 'get_data_info'):
            raise TypeError(
                f'dataset: expected a dataset of MMPretrain or MMEngine, which has '
                f'get_data_info, got {type(self.dataset).__name__}'
            )
        if hasattr(self.dataset, 'max_refetch'):
            # Otherwise an unreadable image is replaced by a random other one.
            self.dataset.max_refetch = 0
        self.imbalance = imbalance
        self.factor = factor
        self.n_max = n_max
        self.seed = seed
        self.expected_hash = expected_hash
        self.held_out = held_out
        self.part = part
        self.check_images = check_images
        self.allow_empty = allow_empty
        self.unreadable = unreadable
        self._replacements: Replacements | None = None
        # Shared memory, so that workers which live longer than an epoch see it change.
        self._position = torch.tensor([NOT_SET, NOT_SET]).share_memory_()
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Load the wrapped dataset, choose the images and check them."""
        if self._fully_initialized:
            return
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        labels, official, paths = read_samples(self.dataset, self.CLASSES)
        subset = self._choose(labels, official)
        self._hash = subset_hash(official[subset])
        setting = self.imbalance, self.factor, self.n_max, self.seed
        known = known_hashes(self.expected_hash, *setting)
        check_hash(self._hash, known, type(self.dataset).__name__)
        train, val = subset, subset[:0]
        if self.held_out is not None:
            split = held_out_split(labels[subset], **self.held_out)
            train, val = (subset[positions] for positions in split)
        self._class_counts = class_counts_of(
            labels[train], self.CLASSES, allow_empty=self.allow_empty
        )
        self._indices = train if self.part == 'train' else val
        self._labels = labels[self._indices]
        self._official = official[self._indices]
        if not self._test_mode:
            self._look_at([paths[i] for i in self._indices])
        self._fully_initialized = True
        name = 'images to test on' if self._is_for_tests else f'{self.part} part'
        print_log(f'LongTailed {name}: {self._summary()}', logger='current')

    @property
    def class_counts(self) -> np.ndarray:
        """Training images of each class, (C,), int64.

        Also in the part ``'val'``: shots are a property of what is trained on.
        """
        self.full_init()
        return self._class_counts

    @property
    def indices(self) -> np.ndarray:
        """Positions of this part's images in the wrapped dataset, (N,), int64.

        Under ``imbalance`` they are in the order of the official code.
        """
        self.full_init()
        return self._indices

    @property
    def hash(self) -> str:
        """Hash of the subset, both parts together.

        It is in the numbering of the official files where the wrapped dataset's records
        give it as ``official_index``, else in positions.
        """
        self.full_init()
        return self._hash

    @property
    def CLASSES(self) -> Sequence[str]:  # noqa: N802, the host's name
        """Names of the C classes."""
        classes = self.dataset.metainfo.get('classes')
        if classes is None:
            raise ValueError(
                f'{type(self.dataset).__name__}: expected the names of the classes in '
                f'its metainfo, got none; give the dataset classes=[...]'
            )
        return classes

    @property
    def metainfo(self) -> dict:
        """The wrapped dataset's metainfo and ``class_counts``, plain integers."""
        metainfo = dict(self.dataset.metainfo)
        if self._fully_initialized:
            metainfo['class_counts'] = self._class_counts.tolist()
        return metainfo

    def shot_groups(self, **kwargs) -> dict[str, np.ndarray]:
        """Class indices of the many-, medium- and few-shot groups."""
        return shot_groups(self.class_counts, **kwargs)

    def set_epoch(self, epoch: int, seed: int) -> None:
        """Let augmentation be drawn for this epoch of a run with this seed."""
        if epoch < 0 or seed < 0:
            raise ValueError(
                f'expected epoch >= 0 and seed >= 0, got epoch={epoch} and seed={seed}'
            )
        self._position[0] = seed
        self._position[1] = epoch

    def get_data_info(self, index: int) -> dict:
        """The wrapped dataset's record of one sample, before the pipeline."""
        return self.dataset.get_data_info(int(self.indices[index]))

    def get_cat_ids(self, index: int) -> list[int]:
        """The label of one sample, in a list."""
        self.full_init()
        return [int(self._labels[index])]

    def get_gt_labels(self) -> np.ndarray:
        """Labels of all samples, (N,), int64."""
        self.full_init()
        return self._labels

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def unreadable_images(self) -> torch.Tensor | None:
        """Which images were replaced so far, (N,), uint8, or None if none ever is."""
        self.full_init()
        return None if self._replacements is None else self._replacements.found

    def __getitem__(self, index: int) -> dict:
        self.full_init()
        index = range(len(self))[index]
        if self._replacements is None:
            return self._load(index, index)
        seed, epoch = self._position.tolist()
        place = int(self._official[index])
        place = (place,) if epoch == NOT_SET else (seed, epoch, place)
        return self._replacements.load(index, place, lambda i: self._load(i, index))

    def _load(self, index: int, place: int) -> dict:
        """Load an image, augmented as that of the index ``place`` would be."""
        seed, epoch = self._position.tolist()
        ambient = self._test_mode or epoch == NOT_SET
        drawn = None if ambient else (seed, epoch, int(self._official[place]))
        sample = load_sample(self.dataset, int(self.indices[index]), drawn)
        if 'data_samples' in sample:
            # Where it is in this dataset; the pipeline knows the wrapped one only.
            sample['data_samples'].set_metainfo({'sample_idx': index})
        return sample

    def __repr__(self) -> str:
        state = self._summary() if self._fully_initialized else 'not loaded yet'
        wrapped = repr(self.dataset).replace('\n', '\n    ')
        return f'{type(self).__name__}({self.part}: {state})\n    {wrapped}'

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._position.share_memory_()

    @property
    def _test_mode(self) -> bool:
        return getattr(self.dataset, 'test_mode', False)

    @property
    def _is_for_tests(self) -> bool:
        """Whether these are all images of a set that is for tests."""
        return self._test_mode and self.held_out is None

    def _choose(self, labels: np.ndarray, official: np.ndarray) -> np.ndarray:
        """Positions of the subset in the wrapped dataset."""
        setting = self.imbalance, self.factor, self.n_max, self.seed
        is_subset = getattr(self.dataset, 'subset_indices', None) is not None
        if self.imbalance is not None and is_subset:
            known = known_hashes(self.expected_hash, *setting)
            check_is_known(official, known, type(self.dataset).__name__, self.imbalance)
            return np.arange(len(labels))
        return choose_subset(labels, self.CLASSES, *setting)

    def _look_at(self, paths: Sequence[str | None]) -> None:
        """Refuse files that cannot be used, or have them replaced."""
        files = [path for path in paths if path]
        if self.unreadable == 'stop':
            check_images(files, self.check_images, SKIP)
            return
        faults = image_faults(files, self.check_images)
        faulty = np.array([path in faults for path in paths], dtype=bool)
        self._replacements = Replacements(self._labels, faulty, self.CLASSES)
        if faults:
            print_log(
                f'{describe_faults(faults, len(files))}\nOther images of their class '
                "take their place (unreadable='skip').",
                logger='current',
                level=logging.WARNING,
            )

    def _summary(self) -> str:
        if self._is_for_tests:
            classes = len(self._class_counts)
            return f'{len(self._indices):,} of {classes} classes, subset {self._hash}'
        return describe_subset(len(self._indices), self._class_counts, self._hash)
