"""What the programs in ``tools/`` do, as functions: options, checks, output."""

from .runs.testing import test_main
from .runs.training import train_main

__all__ = ['test_main', 'train_main']
