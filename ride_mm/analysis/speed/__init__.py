"""How fast training and inference are, by parts and side by side."""

from .memory import peak_memory
from .operators import Operator, time_operators
from .reference import reference_model, reference_step
from .stepped_loop import SteppedTrainLoop
from .steps import PARTS, TrainingStep, model_step, time_parts

__all__ = [
    'PARTS',
    'Operator',
    'SteppedTrainLoop',
    'TrainingStep',
    'model_step',
    'peak_memory',
    'reference_model',
    'reference_step',
    'time_operators',
    'time_parts',
]
