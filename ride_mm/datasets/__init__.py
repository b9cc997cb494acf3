"""Datasets, their long-tailed views, samplers, and transforms."""

from .batched import BatchedLongTailed
from .cifar import LTCIFAR10, LTCIFAR100
from .digits import Digits
from .list_file import LTImageNet, LTListFile
from .long_tailed import LongTailed
from .samplers import LongTailedSampler
from .table_file import LTTableFile
from .transforms import LTRandomRotation

__all__ = [
    'BatchedLongTailed',
    'Digits',
    'LTCIFAR10',
    'LTCIFAR100',
    'LTImageNet',
    'LTListFile',
    'LTRandomRotation',
    'LTTableFile',
    'LongTailed',
    'LongTailedSampler',
]
