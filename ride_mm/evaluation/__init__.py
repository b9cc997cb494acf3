"""Evaluation: metrics by shots and by experts."""

from .metrics import *  # noqa: F403
