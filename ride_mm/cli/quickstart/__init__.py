"""Small networks on digits, trained and compared: ``tools/quickstart.py``."""

from .program import quickstart_main

__all__ = ['quickstart_main']
