"""Use unpacked images where they are, by links."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ...utils.files import files_below
from .errors import PreparationError
from .wanted import Wanted


def link(folder: Path, root: Path, wanted: Wanted) -> tuple[int, list[str]]:
    """Link the wanted images of a folder into the layout.

    Where all wanted images below ``train`` (or another top folder of the layout) lie
    alike below one folder there, this folder is linked as a whole; else each image is.
    What is in the layout already stays.

    Args:
        folder: Holds unpacked images, however deep.
        root: Folder of the layout.
        wanted: Says what is wanted, and where it belongs.

    Returns:
        Number of wanted images in the folder, and the folders that were linked.

    Raises:
        PreparationError: If there is no wanted image.
        OSError: If links cannot be made.
    """
    found = find_images(folder, root, wanted)
    if not found:
        raise PreparationError(
            f'{folder}: expected images of the benchmark in it, got none that is listed'
        )
    by_top: dict[str, dict[str, Path]] = defaultdict(dict)
    for place, source in found.items():
        by_top[place.split('/', 1)[0]][place] = source
    number_of: dict[str, int] = defaultdict(int)
    for place in wanted:
        number_of[place.split('/', 1)[0]] += 1
    linked = []
    for top, sources in by_top.items():
        common = _common_folder(sources)
        whole = common is not None and len(sources) >= number_of[top]
        target = root / top
        if whole and not os.path.lexists(target):
            target.symlink_to(common, target_is_directory=True)
            linked.append(top)
        elif not (target.exists() and common and target.samefile(common)):
            _link_each(root, sources)
    return len(found), linked


def find_images(folder: Path, root: Path, wanted: Wanted) -> dict[str, Path]:
    """Find the wanted images below a folder, but not in the layout.

    Returns:
        The absolute path of each, by where it belongs.
    """
    folder = Path(os.path.abspath(folder))
    found: dict[str, Path] = {}
    for path in map(Path, files_below(folder, leave_out=[root])):
        # With the name of the folder itself, which may be a part of the layout.
        place = wanted.place(path.relative_to(folder.parent).as_posix())
        if place is not None:
            found.setdefault(place, path)
    return found


def archives_in(folder: Path, pattern: re.Pattern | None) -> Iterator[Path]:
    """Archives of single classes directly in a folder, by name."""
    if pattern is not None:
        yield from sorted(p for p in folder.iterdir() if pattern.search(p.name))


def _common_folder(sources: dict[str, Path]) -> Path | None:
    """The folder below which the images lie as they do below their top folder."""
    common = None
    for place, source in sources.items():
        rest = Path(place).parts[1:]
        if source.parts[-len(rest) :] != rest:
            return None
        here = source.parents[len(rest) - 1]
        if common not in (None, here):
            return None
        common = here
    return common


def _link_each(root: Path, sources: dict[str, Path]) -> None:
    for place, source in sources.items():
        target = root / place
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink():  # To a file that is no longer there.
            target.unlink()
        target.symlink_to(source)
