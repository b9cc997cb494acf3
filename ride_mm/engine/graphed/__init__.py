"""Training steps as CUDA graphs: what hundreds of launches do, in one."""

from .captured import CapturedStep
from .step import GraphedStep, why_not

__all__ = ['CapturedStep', 'GraphedStep', 'why_not']
