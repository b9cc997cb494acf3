"""Metrics for long-tailed recognition."""

from .expert_accuracy import ExpertAccuracy, expert_accuracy
from .expert_usage import ExpertUsage, expert_usage
from .routing_recorder import RoutingRecorder
from .shot_accuracy import ShotAccuracy, shot_accuracy

__all__ = [
    'ExpertAccuracy',
    'ExpertUsage',
    'RoutingRecorder',
    'ShotAccuracy',
    'expert_accuracy',
    'expert_usage',
    'shot_accuracy',
]
