"""What can be wrong with a checkpoint."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read or written as data."""


class DamagedCheckpointError(CheckpointError):
    """A file that is no complete checkpoint."""


class UnsafeCheckpointError(CheckpointError):
    """A file that asks for more than plain data. Nothing of it was executed."""
