"""Metrics for long-tailed recognition."""

from .expert_accuracy import ExpertAccuracy, expert_accuracy
from .shot_accuracy import ShotAccuracy, shot_accuracy

__all__ = ['ExpertAccuracy', 'ShotAccuracy', 'expert_accuracy', 'shot_accuracy']
