"""What images there are, and of which classes, before any is opened."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...datasets.list_reading import UNUSUAL_PATH, split_line
from ..errors import UsageError

# A part of images that are not split into training and test yet.
UNSPLIT = 'all'


@dataclass
class Source:
    """Images of a user, found in folders or named by a table.

    Attributes:
        root: Folder that the paths start from, absolute.
        form: How the images were found, in words.
        classes: Names of the C classes.
        parts: For ``'train'``, ``'val'`` and ``'test'``, or for ``'all'`` alone where
            nothing is split yet: the relative path and the label of each image.
        left_out: Files that are no images, by what they are, and their numbers.
        notes: Further things that the user should know.
    """

    root: str
    form: str
    classes: tuple[str, ...]
    parts: dict[str, list[tuple[str, int]]]
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def paths(self) -> list[str]:
        """Relative paths of all parts."""
        return [path for images in self.parts.values() for path, _ in images]

    def counts(self, part: str) -> list[int]:
        """Images of each class in a part, (C,); zeros if there is no such part."""
        found = Counter(label for _, label in self.parts.get(part, ()))
        return [found[c] for c in range(len(self.classes))]


def fault_of_name(path: str) -> str | None:
    """Why an image's path cannot stand in a list file, None if it can."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return 'its name is not UTF-8; rename it'
    if '\n' in path or '\r' in path:
        return 'its name has a line break; rename it'
    if UNUSUAL_PATH.search(path) or split_line(f'{path} 0') != (path, '0'):
        return 'its name cannot stand in a list; rename it'
    return None


def check_class_names(classes: Sequence[str]) -> None:
    """Refuse names that cannot stand in a file with one name a line.

    Raises:
        UsageError: With the first such name.
    """
    if len(classes) < 2:
        got = f'one: {classes[0]!r}' if classes else 'none'
        raise UsageError(f'expected at least two classes, got {got}')
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f'expected names of classes in UTF-8, got {name!r}; rename it'
            ) from None
        if not name.strip() or '\n' in name or '\r' in name or '\0' in name:
            raise UsageError(
                f'expected names of classes without line breaks, got {name!r}; '
                'rename it'
            )
    stripped = Counter(name.strip() for name in classes)
    twice = [name for name, number in stripped.items() if number > 1]
    if twice:
        raise UsageError(
            'expected classes whose names differ in more than blanks at their ends, '
            f'got {twice[0]!r} {stripped[twice[0]]} times'
        )
