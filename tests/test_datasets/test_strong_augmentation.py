"""AutoAugment, RandAugment and Cutout: policy, colours, position."""

import math

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageEnhance, ImageOps

from ride_mm.datasets import LongTailed
from ride_mm.datasets.position import positioned
from ride_mm.utils import resource_root

BASE = resource_root() / 'configs/_base_/datasets'
CONFIG = Config.fromfile(BASE / 'cifar100_lt_autoaugment.py')
POLICY = CONFIG.autoaugment_cifar10


def image(seed: int = 0) -> np.ndarray:
    """A smooth image in which no channel is like another, BGR."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 4, 3)) * [0.3, 0.7, 1.0]
    return cv2.resize(small.astype(np.uint8), (32, 32), interpolation=cv2.INTER_CUBIC)


def apply(config: dict, img: np.ndarray) -> np.ndarray:
    init_default_scope('mmpretrain')
    return TRANSFORMS.build(config)(dict(img=img.copy()))['img']


def as_published(operation: dict) -> tuple[str, float, float | None]:
    """Name, probability and magnitude 0 to 9, as the paper's table has them."""
    operation = dict(operation)
    name, prob = operation.pop('type'), operation.pop('prob')
    if name in ('Shear', 'Translate'):
        name += 'Y' if operation.pop('direction', 'horizontal') == 'vertical' else 'X'
    name = 'Color' if name == 'ColorTransform' else name
    ranges = dict(Shear=0.3, Translate=150 / 331, Rotate=30)
    (value,) = operation.values() or (None,)
    if value is None:
        return name, prob, None
    if name == 'Solarize':
        return name, prob, 9 - 9 * value / 256
    if name == 'Posterize':
        return name, prob, {8 - round(4 * k / 9): k for k in (7,)}.get(value)
    return name, prob, 9 * value / ranges.get(name.rstrip('XY'), 0.9)


def test_the_policy_is_autoaugment_s_for_cifar10():
    """As torchvision has it, operation by operation."""
    autoaugment = pytest.importorskip('torchvision.transforms.autoaugment')
    expected = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy.CIFAR10).policies
    assert len(POLICY) == len(expected) == 25
    for pair, pair_expected in zip(POLICY, expected, strict=True):
        for operation, (name, prob, k) in zip(pair, pair_expected, strict=True):
            got_name, got_prob, got_k = as_published(operation)
            assert (got_name, got_prob) == (name, prob)
            assert (got_k is None) == (k is None)
            assert k is None or math.isclose(got_k, k, abs_tol=1e-9)


COLOURS = {
    'Color': (
        dict(type='ColorTransform', magnitude=0.9),
        lambda x: ImageEnhance.Color(x).enhance(1.9),
    ),
    'grey': (
        dict(type='ColorTransform', magnitude=-0.9),
        lambda x: ImageEnhance.Color(x).enhance(0.1),
    ),
    'Contrast': (
        dict(type='Contrast', magnitude=0.7),
        lambda x: ImageEnhance.Contrast(x).enhance(1.7),
    ),
    'Brightness': (
        dict(type='Brightness', magnitude=0.7),
        lambda x: ImageEnhance.Brightness(x).enhance(1.7),
    ),
    'Sharpness': (
        dict(type='Sharpness', magnitude=-0.9),
        lambda x: ImageEnhance.Sharpness(x).enhance(0.1),
    ),
    'AutoContrast': (dict(type='AutoContrast'), ImageOps.autocontrast),
    'Equalize': (dict(type='Equalize'), ImageOps.equalize),
    'Invert': (dict(type='Invert'), ImageOps.invert),
    'Posterize': (dict(type='Posterize', bits=5), lambda x: ImageOps.posterize(x, 5)),
    'Solarize': (
        dict(type='Solarize', thr=256 / 9 * 4),
        lambda x: ImageOps.solarize(x, 256 / 9 * 4),
    ),
}


@pytest.mark.parametrize('name', COLOURS)
def test_colours_of_bgr_images_are_those_of_pillow_s_rgb_images(name):
    config, pillow = COLOURS[name]
    config = dict(config, prob=1.0)
    if 'magnitude' in config:
        config['random_negative_prob'] = 0.0
    bgr = image()
    expected = np.array(pillow(Image.fromarray(bgr[..., ::-1])))
    got = apply(config, bgr)[..., ::-1]
    inner = slice(1, -1)  # Sharpness treats the border in another way.
    difference = np.abs(got.astype(int) - expected)[inner, inner]
    assert difference.max() <= 2
    changed = np.abs(expected.astype(int) - bgr[..., ::-1])[inner, inner]
    assert changed.max() >= 5


def test_a_wrong_order_of_channels_would_be_seen():
    """The test above has the power that it needs."""
    config = dict(COLOURS['grey'][0], prob=1.0, random_negative_prob=0.0)
    right = apply(config, image())
    wrong = apply(config, image()[..., ::-1])[..., ::-1]
    assert np.abs(right.astype(int) - wrong).max() > 20


def test_cutout_is_a_square_of_the_size_named():
    cut = [t for t in CONFIG.train_pipeline if t['type'] == 'Cutout']
    (config,) = cut
    areas = []
    for seed in range(30):
        with positioned(seed):
            grey = (apply(config, np.zeros((32, 32, 3), np.uint8)) == 128).all(-1)
        areas.append(grey.sum())
    assert max(areas) == 16 * 16 and min(areas) < 16 * 16  # At the border less of it.


class Images:
    """32 images, augmented by a pipeline."""

    METAINFO: dict = {}
    CLASSES = ('a', 'b')
    metainfo = dict(classes=CLASSES)
    test_mode = False

    def __init__(self, pipeline: list[dict]) -> None:
        init_default_scope('mmpretrain')
        self.transforms = [TRANSFORMS.build(config) for config in pipeline]

    def __len__(self) -> int:
        return 32

    def full_init(self) -> None:
        pass

    def get_gt_labels(self) -> np.ndarray:
        return np.arange(32) % 2

    def get_data_info(self, index: int) -> dict:
        return dict(img=image(), gt_label=index % 2, sample_idx=index)

    def prepare_data(self, index: int) -> dict:
        results = self.get_data_info(index)
        for transform in self.transforms:
            results = transform(results)
        return results

    __getitem__ = prepare_data


PIPELINES = {
    'AutoAugment': [CONFIG.train_pipeline[2]],
    'Cutout': [CONFIG.train_pipeline[3]],
    'RandAugment': [
        dict(
            type='RandAugment',
            policies='timm_increasing',
            num_policies=2,
            magnitude_level=9,
            magnitude_std=0.5,
        )
    ],
    'RandomErasing': [dict(type='RandomErasing', erase_prob=1.0, mode='rand')],
}


@pytest.mark.parametrize('name', PIPELINES)
def test_augmentation_is_a_function_of_epoch_and_image(name):
    data = LongTailed(Images(PIPELINES[name]), check_images='none')

    def epoch(number: int, order) -> dict[int, np.ndarray]:
        data.set_epoch(number, 7)
        return {n: data[n]['img'] for n in order}

    first = epoch(3, range(32))
    np.random.seed(99)  # Whatever else has been drawn, and in another order.
    again = epoch(3, reversed(range(32)))
    other = epoch(4, range(32))
    assert all(np.array_equal(first[n], again[n]) for n in first)
    assert sum(not np.array_equal(first[n], other[n]) for n in first) >= 10
    assert len({img.tobytes() for img in first.values()}) >= 10
