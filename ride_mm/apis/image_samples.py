"""Image files and arrays as samples for a pipeline."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from ..datasets.image_check import fault_of_header

Image = str | Path | np.ndarray


class ImageSamples(Dataset):
    """Images by their number, and what a pipeline makes of them.

    Of an image that cannot be read it says why instead.

    Args:
        images: Paths, and arrays as :class:`~ride_mm.apis.Inferencer` takes them.
        load: MMCV's transform that loads a file.
        pipeline: The transforms after it.
    """

    def __init__(
        self, images: Sequence[Image], load: Callable, pipeline: Callable
    ) -> None:
        self.images, self.load, self.pipeline = images, load, pipeline

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, dict | str]:
        image = self.images[index]
        if isinstance(image, np.ndarray):
            sample = _from_array(image)
        else:
            sample = _from_file(str(image), self.load)
        return index, sample if isinstance(sample, str) else self.pipeline(sample)


def _from_file(path: str, load: Callable) -> dict | str:
    # OpenCV decodes a cut file without a word.
    fault = fault_of_header(path)
    if fault is not None:
        return fault
    try:
        return load(dict(img_path=path))
    except Exception as err:  # As many kinds as there are decoders.
        return f'cannot be decoded ({type(err).__name__}: {err})'


def _from_array(image: np.ndarray) -> dict | str:
    shaped = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or not shaped or image.size == 0:
        return (
            'expected an array of uint8, (H, W, 3) in BGR or (H, W), got '
            f'{image.dtype} {image.shape}'
        )
    if image.ndim == 2:
        image = np.stack([image] * 3, axis=-1)
    size = image.shape[:2]
    return dict(img=image, img_shape=size, ori_shape=size)


def name_of_image(image: Image, index: int) -> str:
    """Path of an image, or the number of an array among the images."""
    return f'image {index}' if isinstance(image, np.ndarray) else str(image)
