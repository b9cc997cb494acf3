"""Images in folders: one for each class, in parts or not."""

import os
from collections import Counter
from pathlib import Path

from ...datasets.table_reading import SPLITS
from ...utils.files import files_below
from ...utils.listing import first_few
from ..errors import UsageError
from ..image_files import IMAGE_SUFFIXES, is_image
from .source import UNSPLIT, Source, check_class_names


def source_in_folders(root: str) -> Source:
    """Find the images of a folder.

    It has a folder for each class, or ``train`` and ``test`` (or ``val``, or both) with
    a folder for each class in each. Images may lie in further folders below that of
    their class. Hidden files and folders are passed over, links are followed.

    Args:
        root: The folder.

    Raises:
        UsageError: If there is no such folder, or it has not the form.
    """
    root = os.path.abspath(os.path.expanduser(root))
    if not os.path.isdir(root):
        found = 'a file' if os.path.exists(root) else 'nothing there'
        raise UsageError(f'DATA_ROOT: expected a folder, got {root}: {found}')
    source = Source(root, 'a folder for each class', (), {})
    parts = part_folders(root)
    if parts:
        names = ', '.join(f'{os.path.basename(folder)}/' for folder in parts.values())
        source.form = f'{names} with a folder for each class'
        beside = sorted(
            set(folders_in(root)) - set(map(os.path.basename, parts.values()))
        )
        if beside:
            source.notes.append(
                f'left out, for they are no parts: {first_few(map(repr, beside))}'
            )
    found = {
        part: images_by_class(root, folder, source)
        for part, folder in (parts or {UNSPLIT: root}).items()
    }
    source.classes = classes_of(found, root)
    index_of = {name: c for c, name in enumerate(source.classes)}
    for part, by_class in found.items():
        if not by_class:
            raise UsageError(f'{root}: expected images in the part {part}, got none')
        source.parts[part] = [
            (path, index_of[name]) for name, paths in by_class.items() for path in paths
        ]
    if list(source.parts) == ['train']:
        source.parts = {UNSPLIT: source.parts['train']}
    return source


def part_folders(root: str) -> dict[str, str]:
    """Folders of training, validation and test images, by part.

    There are some if one for training is there together with another part, or alone.

    Raises:
        UsageError: If two stand for one part, such as ``val`` and ``validation``.
    """
    parts: dict[str, str] = {}
    folders = folders_in(root)
    for name in folders:
        part = SPLITS.get(name.casefold())
        if part in parts:
            raise UsageError(
                f'{root}: expected one folder for the part {part}, got '
                f'{os.path.basename(parts[part])} and {name}'
            )
        if part is not None:
            parts[part] = os.path.join(root, name)
    if 'train' in parts and (len(parts) > 1 or len(folders) == 1):
        return {part: parts[part] for part in ('train', 'val', 'test') if part in parts}
    return {}


def folders_in(folder: str) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones."""
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not entry.name.startswith('.')
    )


def images_by_class(root: str, folder: str, source: Source) -> dict[str, list[str]]:
    """Find the images below each folder of a folder.

    Args:
        root: What the paths are relative to.
        folder: Whose folders are the classes.
        source: Is told what is left out.

    Returns:
        Relative paths by the name of the class; a class without an image is absent.
    """
    found = {}
    beside = [e.name for e in os.scandir(folder) if e.is_file() and is_image(e.name)]
    if beside:
        source.left_out['in no folder of a class'] += len(beside)
    for name in folders_in(folder):
        others: Counter[str] = Counter()
        paths = []
        for path in files_below(os.path.join(folder, name)):
            if is_image(path):
                paths.append(os.path.relpath(path, root).replace(os.sep, '/'))
            else:
                others[_kind_of_other(path)] += 1
        source.left_out.update(others)
        if paths:
            found[name] = sorted(paths)
        else:
            source.notes.append(
                f'no class, for it has no image: '
                f'{os.path.relpath(os.path.join(folder, name), root)}/'
                + (f' (only {described(others)})' if others else '')
            )
    return found


def _kind_of_other(path: str) -> str:
    """What a file is that is no image."""
    name = Path(path)
    if name.name.startswith('.'):
        return 'hidden'
    return name.suffix.lower() or 'without an ending'


def described(left_out: Counter[str]) -> str:
    """Numbers of files by what they are, in words."""
    return ', '.join(f'{number:,} {what}' for what, number in left_out.most_common())


def classes_of(found: dict[str, dict[str, list[str]]], root: str) -> tuple[str, ...]:
    """Names of the classes, sorted, as MMPretrain numbers them.

    Args:
        found: Paths by class, for each part.
        root: The folder, for errors.

    Raises:
        UsageError: If there are fewer than two, or one without a training image.
    """
    trained = found.get('train', found.get(UNSPLIT, {}))
    if not trained:
        raise UsageError(
            f'{root}: expected a folder for each class with images '
            f'({" ".join(IMAGE_SUFFIXES)}), got none; labels in a CSV or list file are '
            'read with --table FILE'
        )
    if len(trained) == 1:
        (name,) = trained
        raise UsageError(
            f'{root}: expected a folder for each of at least two classes, got one with '
            f'images: {name!r}; if its folders are the classes, give '
            f'{os.path.join(root, name)}'
        )
    only = sorted({name for part in found.values() for name in part} - set(trained))
    if only:
        raise UsageError(
            f'{root}: expected training images of each class, got none of '
            f'{first_few(map(repr, only))}; rename or remove these folders'
        )
    classes = tuple(sorted(trained))
    check_class_names(classes)
    return classes
