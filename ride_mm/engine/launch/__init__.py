"""What ``tools/train.py`` and ``tools/test.py`` do, as functions."""

from .test import test, test_main
from .train import train, train_main

__all__ = ['test', 'test_main', 'train', 'train_main']
