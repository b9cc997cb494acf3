"""The files of a data set: lists, configs, and what happens to earlier ones."""

import os
from pathlib import Path

from ...engine.checkpoint_io import write_atomically
from ...utils import resource_root
from ..errors import UsageError
from .config_text import experts_config, router_config
from .machine import Machine
from .names import Names
from .proposal import Proposal
from .source import Source

RUNTIME = 'default_runtime.py'


def files_of(
    names: Names, source: Source, proposal: Proposal, machine: Machine
) -> dict[str, str]:
    """Contents of all files, by name.

    The hooks that every run shares are copied, so that the folder needs no path to the
    configs of ride_mm, which a wheel and a checkout have in different places.
    """
    files = {
        f'{part}.txt': ''.join(f'{path} {label}\n' for path, label in sorted(images))
        for part, images in source.parts.items()
    }
    files['classes.txt'] = ''.join(f'{name}\n' for name in source.classes)
    runtime = resource_root() / 'configs' / '_base_' / RUNTIME
    files[RUNTIME] = runtime.read_text(encoding='utf-8')
    files[f'{names.experts}.py'] = experts_config(names, source, proposal, machine)
    if proposal.experts > 1:
        files[f'{names.routers}.py'] = router_config(names, proposal)
    return files


def check_earlier(out: str, files: dict[str, str], overwrite: bool) -> None:
    """Refuse to replace files that are not what would be written.

    They may have been edited, or trained with: other lists would put test images into
    the training.

    Raises:
        UsageError: With their names, unless ``overwrite``.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f'--out: expected a folder, got {out}, a file')
    if overwrite:
        return
    differing = [
        name
        for name, text in files.items()
        if os.path.lexists(folder / name) and not _holds(folder / name, text)
    ]
    if differing:
        raise UsageError(
            f'{out}: expected no files that differ from what would be written, got '
            f'{", ".join(differing)}; choose another --out, or replace them with '
            '--overwrite (checkpoints that were trained with other lists know images '
            'of the test)'
        )


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def write_files(out: str, files: dict[str, str]) -> None:
    """Write them, the configs last, so that these never lack their lists."""
    for name, text in files.items():
        write_atomically(text, Path(out) / name)
