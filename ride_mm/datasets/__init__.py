"""Datasets, their long-tailed views, samplers, and transforms."""

from .cifar import LTCIFAR10, LTCIFAR100
from .digits import Digits
from .long_tailed import LongTailed
from .samplers import LongTailedSampler
from .transforms import LTRandomRotation

__all__ = [
    'Digits',
    'LTCIFAR10',
    'LTCIFAR100',
    'LTRandomRotation',
    'LongTailed',
    'LongTailedSampler',
]
