"""Configs for images of one's own: what ``tools/new_dataset.py`` does."""

from .main import new_dataset_main

__all__ = ['new_dataset_main']
