"""Reading and writing checkpoints as data, never as programs.

Importing it makes the loaders here MMEngine's own.
"""

from ...utils.files import TEMPORARY_SUFFIX, remove_temporary_files
from .errors import CheckpointError, DamagedCheckpointError, UnsafeCheckpointError
from .foreign import ForeignCheckpoint, load_foreign_checkpoint
from .loaders import load_from_http, load_from_local, register_loaders
from .plain import from_plain, plain_data, to_plain
from .reading import latest_checkpoint, load_checkpoint_file, model_tensors
from .writing import ATOMIC_BACKEND, AtomicBackend, write_atomically

__all__ = [
    'ATOMIC_BACKEND',
    'TEMPORARY_SUFFIX',
    'AtomicBackend',
    'CheckpointError',
    'DamagedCheckpointError',
    'ForeignCheckpoint',
    'UnsafeCheckpointError',
    'from_plain',
    'latest_checkpoint',
    'load_checkpoint_file',
    'load_foreign_checkpoint',
    'load_from_http',
    'load_from_local',
    'model_tensors',
    'plain_data',
    'register_loaders',
    'remove_temporary_files',
    'to_plain',
    'write_atomically',
]
