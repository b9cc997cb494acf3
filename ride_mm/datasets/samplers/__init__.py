"""Samplers, which decide what images an epoch consists of."""

from .long_tailed_sampler import LongTailedSampler
from .resampling import class_probabilities, epoch_indices

__all__ = ['LongTailedSampler', 'class_probabilities', 'epoch_indices']
