"""Trainings that are run, resumed, tested and summarised together."""

from .devices import Slot, make_slots
from .pool import Job, Step, run_jobs
from .results import Spread, metrics_of, spread
from .run import (
    Run,
    check_config,
    config_content,
    is_free,
    last_checkpoint_name,
    shown,
)
from .work import Status, has_begun, job_of, read_command, status_of

__all__ = [
    'Job',
    'Run',
    'Slot',
    'Spread',
    'Status',
    'Step',
    'check_config',
    'config_content',
    'has_begun',
    'is_free',
    'job_of',
    'last_checkpoint_name',
    'make_slots',
    'metrics_of',
    'read_command',
    'run_jobs',
    'shown',
    'spread',
    'status_of',
]
