"""What the programs in ``tools/`` do, as functions: options, checks, output.

A folder of ``tools/`` has one of the same name here; ``tools/train.py`` and
``tools/test.py`` are in ``runs/``. What several programs share is in ``configs/``,
``runs/``, ``experiments/``, ``program.py`` and ``files.py``.
"""

from .runs.testing import test_main
from .runs.training import train_main

__all__ = ['test_main', 'train_main']
