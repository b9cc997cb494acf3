"""A run that is refused leaves its work directory as it was."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from ...engine.checkpoint_io import write_atomically
from ...utils.folders import missing_folders, remove_empty


class BeginHook(Hook):
    """Notes that a run begins, and then removes the checkpoints of an earlier one.

    That is after all that may refuse it: the model and data are built, and the checks
    before the first batch have passed. It has to be registered as the last hook.

    Args:
        earlier: The files of an earlier run.

    Attributes:
        begun: Whether the run has begun.
    """

    def __init__(self, earlier: Sequence[Path] = ()) -> None:
        super().__init__()
        self.earlier = earlier
        self.begun = False

    def before_train(self, runner: Runner) -> None:
        """Remove the files, in one process."""
        self.begun = True
        if self.earlier and is_main_process():
            for path in self.earlier:
                path.unlink(missing_ok=True)
            names = ', '.join(path.name for path in self.earlier)
            runner.logger.info(f'Removed of the earlier run: {names}')

    def before_test(self, runner: Runner) -> None:
        """Note that a test begins."""
        self.begun = True


@contextmanager
def undone_unless_begun(cfg: Config, begin: BeginHook) -> Iterator[None]:
    """Take back what MMEngine writes before a run is checked, if that refuses it.

    MMEngine starts a log and writes the config into the work directory as soon as a
    runner is made. If the run ends before it has begun, its log goes again, and so does
    the config, or the one that was there before comes back.

    Args:
        cfg: Of the run; ``work_dir`` and the name of the file are used.
        begin: Registered in the runner.
    """
    work_dir = Path(cfg.work_dir)
    before = set(work_dir.glob('*'))
    config = work_dir / Path(cfg.filename).name if cfg.filename else None
    text = config.read_bytes() if config in before else None
    missing = missing_folders(work_dir)
    try:
        yield
    except BaseException:
        if not begin.begun:
            for folder in _log_folders(work_dir) - before:
                shutil.rmtree(folder, ignore_errors=True)
                # Of a config without a name MMEngine makes one of the time.
                folder.with_suffix('.py').unlink(missing_ok=True)
            if text is not None:
                write_atomically(text, config)
            elif config is not None:
                config.unlink(missing_ok=True)
            remove_empty(missing)
        raise


def _log_folders(work_dir: Path) -> set[Path]:
    """Folders in a work directory that this process logs into; their files close."""
    found = set()
    for logger in MMLogger._instance_dict.values():
        for handler in list(logger.handlers):
            if isinstance(handler, logging.FileHandler):
                folder = Path(handler.baseFilename).parent
                if folder.parent == work_dir.absolute():
                    logger.removeHandler(handler)
                    handler.close()
                    found.add(work_dir / folder.name)
    return found
