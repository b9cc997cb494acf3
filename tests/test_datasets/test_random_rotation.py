import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from ride_mm.datasets.transforms import LTRandomRotation

IMAGE = np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)


def rotated(degrees, image=IMAGE):
    return LTRandomRotation(degrees)({'img': image.copy()})['img']


def test_equals_torchvision_pixel_by_pixel():
    functional = pytest.importorskip('torchvision.transforms.functional')
    transform = LTRandomRotation(15)
    for angle in np.linspace(-15, 15, 31):
        transform.random_angle = lambda angle=angle: angle
        ours = transform({'img': IMAGE.copy()})['img']
        theirs = functional.rotate(Image.fromarray(IMAGE), float(angle))
        np.testing.assert_array_equal(ours, theirs)


def test_is_counter_clockwise_and_fills_with_zero():
    transform = LTRandomRotation(15)
    transform.random_angle = lambda: 90.0
    np.testing.assert_array_equal(
        transform({'img': IMAGE.copy()})['img'], np.rot90(IMAGE)
    )
    transform.random_angle = lambda: 15.0
    turned = transform({'img': np.full((32, 32, 3), 9, np.uint8)})['img']
    assert turned[0, 0].tolist() == [0, 0, 0]
    assert turned[16, 16].tolist() == [9, 9, 9]
    assert set(np.unique(turned)) == {0, 9}


def test_angles_are_uniform_and_follow_numpys_generator():
    transform = LTRandomRotation(15)
    np.random.seed(0)
    angles = [transform.random_angle() for _ in range(2000)]
    np.random.seed(0)
    assert transform.random_angle() == angles[0]
    assert -15 <= min(angles) < -14.9
    assert 14.9 < max(angles) <= 15
    assert abs(np.mean(angles)) < 1
    assert np.std(angles) == pytest.approx(15 / 3**0.5, rel=0.05)


def test_zero_degrees_keep_the_image():
    np.testing.assert_array_equal(rotated(0), IMAGE)


def test_channels_are_not_swapped_and_grey_images_work():
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    assert rotated(15, red)[16, 16].tolist() == [255, 0, 0]
    assert rotated(15, IMAGE[..., 0]).shape == (32, 32)


def test_result_is_writeable_and_of_the_same_form():
    result = rotated(15)
    assert (result.shape, result.dtype) == (IMAGE.shape, IMAGE.dtype)
    assert result.flags.writeable


def test_is_registered_and_readable():
    transform = TRANSFORMS.build({'type': 'LTRandomRotation', 'degrees': 15})
    assert repr(transform) == 'LTRandomRotation(degrees=15)'


@pytest.mark.parametrize('degrees', [-1, float('nan')])
def test_refuses_negative_degrees(degrees):
    with pytest.raises(ValueError, match=f'expected a number >= 0, got {degrees}'):
        LTRandomRotation(degrees)
