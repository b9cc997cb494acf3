"""The rotation of the official CIFAR recipe."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmpretrain.registry import TRANSFORMS
from PIL import Image


@TRANSFORMS.register_module()
class LTRandomRotation(BaseTransform):
    """Rotate every image by a uniform angle.

    The same operation as ``torchvision.transforms.RandomRotation``: counter-clockwise
    about the centre, nearest neighbour, corners filled with 0. MMPretrain's ``Rotate``
    is another one: one fixed angle, of random sign, with a probability.

    The official training pipeline of CIFAR is::

        train_pipeline = [
            dict(type='RandomCrop', crop_size=32, padding=4),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='LTRandomRotation', degrees=15),
            dict(type='PackInputs'),
        ]

    Where torchvision is installed, MMPretrain offers the same in three lines
    (``NumpyToPIL``, ``torchvision/RandomRotation``, ``PILToNumpy``), which equal this
    one pixel by pixel; of ``to_rgb`` and ``to_bgr`` set both or neither.

    Args:
        degrees: The angle is drawn from [-degrees, degrees].
    """

    def __init__(self, degrees: float) -> None:
        super().__init__()
        if not degrees >= 0:
            raise ValueError(f'degrees: expected a number >= 0, got {degrees}')
        self.degrees = degrees

    @cache_randomness
    def random_angle(self) -> float:
        """An angle in degrees."""
        return np.random.uniform(-self.degrees, self.degrees)

    def transform(self, results: dict) -> dict:
        """Rotate ``results['img']``, uint8, (H, W, 3) or (H, W)."""
        image = Image.fromarray(results['img'])
        rotated = image.rotate(self.random_angle(), Image.Resampling.NEAREST)
        results['img'] = np.array(rotated)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(degrees={self.degrees})'
