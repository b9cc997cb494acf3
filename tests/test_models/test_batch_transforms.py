"""Augmentation by the batch moves the same pixels as that of single images."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from torch import Tensor

from ride_mm.datasets import LTRandomRotation
from ride_mm.models import BatchRandomCrop, BatchRandomFlip, BatchRandomRotation

CROPS = [(0, 0), (8, 8), (4, 4), (1, 7), (8, 3)]
ANGLES = [0.0, -0.0, 1e-9, 15.0, -15.0, 45.0, 90.0, -90.0, 180.0, 359.0, 7.123456]


def random_images(n: int, height: int = 32, width: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = n, 3, height, width
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def by_single_image(images: Tensor, transforms: list) -> Tensor:
    """Images (N, 3, H, W) through one pipeline transform each."""
    results = [
        transform(dict(img=np.ascontiguousarray(image.permute(1, 2, 0).numpy())))['img']
        for image, transform in zip(images, transforms, strict=True)
    ]
    return torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2)


def test_crop_equals_that_of_single_images():
    images = random_images(len(CROPS))

    def transform(top: int, left: int):
        one = TRANSFORMS.build(dict(type='RandomCrop', crop_size=32, padding=4))
        one.rand_crop_params = lambda image: (top, left, 32, 32)
        return one

    expected = by_single_image(images, [transform(*crop) for crop in CROPS])
    top, left = torch.tensor(CROPS).T
    got = BatchRandomCrop(32, padding=4).crop(images, top, left)
    assert torch.equal(got, expected)
    assert not torch.equal(got[0], images[0])


def test_crop_without_padding_cuts_smaller_images():
    images = random_images(2, 5, 7)
    got = BatchRandomCrop(3).crop(images, torch.tensor([0, 2]), torch.tensor([4, 1]))
    assert torch.equal(got[0], images[0, :, 0:3, 4:7])
    assert torch.equal(got[1], images[1, :, 2:5, 1:4])


def test_flip_mirrors_the_chosen_alone():
    images = random_images(3)
    got = BatchRandomFlip().flip(images, torch.tensor([True, False, True]))
    assert torch.equal(got[1], images[1])
    assert torch.equal(got[[0, 2]], images[[0, 2]].flip(-1))


@pytest.mark.parametrize('size', [(32, 32), (33, 31), (16, 24), (1, 1)])
def test_rotation_equals_that_of_single_images(size):
    generator = torch.Generator().manual_seed(1)
    drawn = 30 * torch.rand(200, generator=generator, dtype=torch.float64) - 15
    angles = torch.cat([torch.tensor(ANGLES, dtype=torch.float64), drawn])
    images = random_images(len(angles), *size)

    def transform(angle: float) -> LTRandomRotation:
        one = LTRandomRotation(180)
        one.random_angle = lambda: angle
        return one

    expected = by_single_image(images, [transform(a) for a in angles.tolist()])
    assert torch.equal(BatchRandomRotation(15).rotate(images, angles), expected)


def test_rotation_is_that_of_pillow():
    image = random_images(1)
    array = image[0].permute(1, 2, 0).numpy()
    expected = np.array(Image.fromarray(array).rotate(12.5))
    got = BatchRandomRotation(15).rotate(image, torch.tensor([12.5]).double())
    assert np.array_equal(got[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(
    ('transform', 'name', 'low', 'high', 'count'),
    [
        (BatchRandomCrop(32, padding=4), 'crop', 0, 8, 9),
        (BatchRandomRotation(15), 'rotate', -15, 15, None),
        (BatchRandomFlip(0.25), 'flip', 0, 1, 2),
    ],
    ids=['crop', 'rotation', 'flip'],
)
def test_draws_each_image_uniformly(monkeypatch, transform, name, low, high, count):
    drawn = []
    monkeypatch.setattr(transform, name, lambda images, *values: drawn.extend(values))
    torch.manual_seed(0)
    transform(random_images(4000, 32, 32))
    for values in drawn:
        values = values.double()
        assert len(values) == 4000
        assert values.min() >= low
        assert values.max() <= high
        mean = 0.25 if name == 'flip' else (low + high) / 2
        assert values.mean().item() == pytest.approx(mean, abs=0.02 * (high - low))
        if count is not None:
            assert len(values.unique()) == count
    assert len(drawn) == (2 if name == 'crop' else 1)


def test_draws_follow_the_seed():
    images = random_images(8)
    transforms = BatchRandomCrop(32, 4), BatchRandomFlip(), BatchRandomRotation(15)
    for transform in transforms:
        torch.manual_seed(3)
        first = transform(images)
        again = transform(images)
        torch.manual_seed(3)
        assert torch.equal(transform(images), first)
        assert not torch.equal(again, first)
        assert first.dtype == torch.uint8


def test_bad_input_is_told():
    with pytest.raises(ValueError, match='crop_size >= 1 and padding >= 0, got crop'):
        BatchRandomCrop(0)
    with pytest.raises(ValueError, match='no more than the padded images, got 9'):
        BatchRandomCrop(9, padding=1)(random_images(1, 32, 6))
    with pytest.raises(ValueError, match='from 0 to 1, got 2'):
        BatchRandomFlip(2)
    with pytest.raises(ValueError, match='number >= 0, got -1'):
        BatchRandomRotation(-1)
