"""Folders that are made for something, and go again if it fails."""

from collections.abc import Sequence
from pathlib import Path


def missing_folders(folder: str | Path) -> list[Path]:
    """A folder and those that it lies in, as far as they are not there, inner first."""
    folder = Path(folder)
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders up to the first that is not empty; that is no error."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
