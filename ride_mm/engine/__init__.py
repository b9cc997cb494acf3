"""What happens around the models: hooks, optimizers, checkpoints.

Importing it makes the loaders of :mod:`ride_mm.engine.checkpoint_io` MMEngine's own.
"""

from . import checkpoint_io, expert_parallel, graphed, hooks, optimizers

__all__ = ['checkpoint_io', 'expert_parallel', 'graphed', 'hooks', 'optimizers']
