"""What happens to a batch of images on its way into the network."""

from .batch_transforms import BatchRandomCrop, BatchRandomFlip, BatchRandomRotation
from .data_preprocessor import LTDataPreprocessor

__all__ = [
    'BatchRandomCrop',
    'BatchRandomFlip',
    'BatchRandomRotation',
    'LTDataPreprocessor',
]
