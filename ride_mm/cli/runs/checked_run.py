"""A run of MMEngine: processes that part together, refusals that leave nothing."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mmengine.config import Config

from ..program import is_first_process
from .begin import BeginHook, undone_unless_begun
from .config_mistakes import mistakes_told
from .processes import processes


@contextmanager
def checked_run(cfg: Config, earlier: Sequence[Path] = ()) -> Iterator[BeginHook]:
    """Connect the processes of a run, tell mistakes in its config, take back refusals.

    Args:
        cfg: Of the run.
        earlier: Checkpoints of an earlier run, which go when this one begins.

    Yields:
        The hook that notes that the run begins, to be registered as the last one.

    Raises:
        UsageError: If the run cannot begin.
    """
    begin = BeginHook(earlier)
    with ExitStack() as stack:
        if is_first_process():
            stack.enter_context(undone_unless_begun(cfg, begin))
        stack.enter_context(processes(cfg))
        stack.enter_context(mistakes_told(cfg, begin))
        yield begin
