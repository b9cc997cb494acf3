"""What ``tools/train.py`` and ``tools/test.py`` do, as functions."""

from .testing import test_main
from .training import train_main

__all__ = ['test_main', 'train_main']
