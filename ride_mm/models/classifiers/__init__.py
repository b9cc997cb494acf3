"""Classifiers."""

from .ride_classifier import RIDEClassifier

__all__ = ['RIDEClassifier']
