"""The augmentation of the official CIFAR recipe for whole batches, on any device.

Each transform draws its parameters with PyTorch's CPU generator, one set per image, and
then moves pixels as its counterpart for single images does: with the same parameters
the results are equal, to the last bit, on CPUs and GPUs.
"""

import torch
from mmpretrain.registry import TRANSFORMS
from torch import Tensor

# PIL's fixed-point numbers have this many bits behind the point.
FRACTION_BITS = 16


def pixels_at(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels of images at given places, 0 outside.

    Args:
        images: (N, C, H, W).
        rows: Row of each new pixel, (N, H', W') or a shape that broadcasts to it.
        columns: Its column, likewise.

    Returns:
        (N, C, H', W').
    """
    n, channels, height, width = images.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    inside, places = torch.broadcast_tensors(inside, places)
    size = places.shape[-2:]
    places = places.reshape(n, 1, -1).expand(-1, channels, -1)
    taken = images.flatten(2).gather(2, places).view(n, channels, *size)
    return taken * inside[:, None].to(taken.dtype)


def _beside(drawn: Tensor, images: Tensor) -> Tensor:
    """Parameters where the images are, without waiting for a GPU."""
    if images.is_cuda:
        drawn = drawn.pin_memory()
    return drawn.to(images.device, non_blocking=True)


@TRANSFORMS.register_module()
class BatchRandomCrop:
    """Pad every image with 0 and cut a window out of it, uniformly placed.

    As MMPretrain's ``RandomCrop`` with these arguments.

    Args:
        crop_size: Height and width of the window.
        padding: Pixels that are added on each side beforehand.
    """

    def __init__(self, crop_size: int, padding: int = 0) -> None:
        if crop_size < 1 or padding < 0:
            raise ValueError(
                'expected crop_size >= 1 and padding >= 0, got '
                f'crop_size={crop_size} and padding={padding}'
            )
        self.crop_size = crop_size
        self.padding = padding

    def __call__(self, images: Tensor) -> Tensor:
        """Crop images (N, C, H, W)."""
        room = [side + 2 * self.padding - self.crop_size for side in images.shape[2:]]
        if min(room) < 0:
            raise ValueError(
                f'crop_size: expected no more than the padded images, got '
                f'{self.crop_size} for {tuple(images.shape[2:])} and padding '
                f'{self.padding}'
            )
        n = len(images)
        corners = [torch.randint(0, free + 1, (n,)) for free in room]
        return self.crop(images, *corners)

    def crop(self, images: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Cut windows with these corners, (N,) each, out of the padded images."""
        steps = torch.arange(self.crop_size, device=images.device) - self.padding
        rows = _beside(top, images)[:, None, None] + steps[:, None]
        columns = _beside(left, images)[:, None, None] + steps
        return pixels_at(images, rows, columns)

    def __repr__(self) -> str:
        return f'BatchRandomCrop({self.crop_size}, padding={self.padding})'


@TRANSFORMS.register_module()
class BatchRandomFlip:
    """Mirror each image, left to right, with a probability.

    Args:
        prob: The probability.
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob: expected a number from 0 to 1, got {prob}')
        self.prob = prob

    def __call__(self, images: Tensor) -> Tensor:
        """Flip images (N, C, H, W)."""
        return self.flip(images, torch.rand(len(images)) < self.prob)

    def flip(self, images: Tensor, chosen: Tensor) -> Tensor:
        """Mirror those images that are chosen, (N,), bool."""
        chosen = _beside(chosen, images)[:, None, None, None]
        return torch.where(chosen, images.flip(-1), images)

    def __repr__(self) -> str:
        return f'BatchRandomFlip({self.prob})'


@TRANSFORMS.register_module()
class BatchRandomRotation:
    """Rotate each image by a uniform angle.

    As :class:`~ride_mm.datasets.transforms.LTRandomRotation` and torchvision's
    ``RandomRotation``: counter-clockwise about the centre, nearest neighbour, corners
    filled with 0. The places are computed as Pillow computes them, in fixed-point
    numbers with 16 bits behind the point
    (https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Geometry.c).

    Args:
        degrees: The angle is drawn from [-degrees, degrees].
    """

    def __init__(self, degrees: float) -> None:
        if not degrees >= 0:
            raise ValueError(f'degrees: expected a number >= 0, got {degrees}')
        self.degrees = degrees

    def __call__(self, images: Tensor) -> Tensor:
        """Rotate images (N, C, H, W)."""
        unit = torch.rand(len(images), dtype=torch.float64)
        return self.rotate(images, (2 * unit - 1) * self.degrees)

    def rotate(self, images: Tensor, degrees: Tensor) -> Tensor:
        """Rotate by these angles, (N,), float64, on the CPU."""
        height, width = images.shape[2:]
        radians = -torch.deg2rad(degrees % 360)
        cos, sin = radians.cos(), radians.sin()
        x, y = width / 2, height / 2
        # Where the middle of the first new pixel comes from.
        first_x = x - cos * (x - 0.5) - sin * (y - 0.5)
        first_y = y + sin * (x - 0.5) - cos * (y - 0.5)
        # The steps of x along a row and down a column, then those of y.
        fixed = torch.stack([first_x, cos, sin, first_y, -sin, cos])
        fixed = (fixed * 2**FRACTION_BITS + 0.5).floor().long()
        x, x_right, x_down, y, y_right, y_down = _beside(fixed, images)[
            :, :, None, None
        ]
        i = torch.arange(height, device=images.device)[:, None]
        j = torch.arange(width, device=images.device)
        columns = (x + x_right * j + x_down * i) >> FRACTION_BITS
        rows = (y + y_right * j + y_down * i) >> FRACTION_BITS
        return pixels_at(images, rows, columns)

    def __repr__(self) -> str:
        return f'BatchRandomRotation({self.degrees})'
