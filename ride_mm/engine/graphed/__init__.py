"""Training steps as CUDA graphs: what hundreds of launches do, in one."""

from .captured import CapturedStep
from .step import WARM_UP, GraphedStep, why_not

__all__ = ['WARM_UP', 'CapturedStep', 'GraphedStep', 'why_not']
