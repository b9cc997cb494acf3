"""Classifiers."""

from .ride_classifier import RIDEClassifier
from .vmoe_classifier import VMoEClassifier

__all__ = ['RIDEClassifier', 'VMoEClassifier']
