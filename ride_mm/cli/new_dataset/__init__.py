"""Configs for your own images: what ``tools/new_dataset.py`` does."""

from .program import new_dataset_main

__all__ = ['new_dataset_main']
