"""How configs, checkpoints and commands are called."""

import os
import re
import shlex
import unicodedata
from dataclasses import dataclass

from ...utils import resource_root
from ..errors import UsageError
from .proposal import Proposal


@dataclass(frozen=True)
class Names:
    """How things are called.

    Attributes:
        name: Of the data set.
        out: Folder of the configs, as the user gave it.
    """

    name: str
    out: str

    @property
    def experts(self) -> str:
        """Stem of the config of stage one."""
        return f'ride_{self.name}'

    @property
    def routers(self) -> str:
        """Stem of the config of stage two."""
        return f'ride_{self.name}_router'

    def command(self, tool: str, stem: str, *others: str) -> str:
        """A command line with a config of this folder."""
        config = os.path.join(self.out, f'{stem}.py')
        words = [tool_path(tool), config, *others]
        return ' '.join(['python', *map(shlex.quote, words)])


def plain_name(text: str) -> str:
    """A name of small letters, digits and ``_``, for files and commands.

    Returns:
        What of ``text`` can be kept, ``'custom'`` if that is nothing.
    """
    letters = unicodedata.normalize('NFKD', text).encode('ascii', 'ignore').decode()
    return re.sub(r'[^a-z0-9]+', '_', letters.lower()).strip('_') or 'custom'


def names_for(root: str, name: str | None, out: str | None) -> Names:
    """Call things as the user says, or else as the folder of the images.

    Args:
        root: The folder of the images, absolute.
        name: Of the data set.
        out: Folder for the configs.

    Raises:
        UsageError: If a name or path cannot be written into a config.
    """
    if name is not None and plain_name(name) != name:
        raise UsageError(
            '--name: expected small letters, digits and _ in between, got '
            f'{name!r}; {plain_name(name)!r} would do'
        )
    name = name or plain_name(os.path.basename(root))
    names = Names(name, os.path.expanduser(out or f'configs_{name}'))
    for option, path, signs in (
        ('DATA_ROOT', root, ('{{', '\n')),
        # MMEngine puts it between quotes, and takes a backslash for a slash.
        ('--out', os.path.abspath(names.out), ("'", '\\', '{{', '\n', '"""')),
    ):
        wrong = [sign for sign in signs if sign in path and sign != os.sep]
        if wrong:
            raise UsageError(
                f'{option}: expected a path without {wrong[0]!r}, which a config '
                f'cannot hold, got {path}'
            )
        try:
            path.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f'{option}: expected a path in UTF-8, got {path!r}'
            ) from None
    return names


def tool_path(tool: str) -> str:
    """Path of a program, relative where it lies in the current folder."""
    path = str(resource_root() / 'tools' / tool)
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def checkpoint(stem: str, epochs: int) -> str:
    """Where a training leaves its last checkpoint."""
    return f'work_dirs/{stem}/epoch_{epochs}.pth'


def commands_of_experts(names: Names, proposal: Proposal) -> list[str]:
    """To train stage one, test it and classify images."""
    return _commands(names, names.experts, proposal.epochs)


def commands_of_routers(names: Names, proposal: Proposal) -> list[str]:
    """The same for stage two; none with a single expert."""
    if proposal.experts == 1:
        return []
    return _commands(names, names.routers, proposal.router_epochs)


def _commands(names: Names, stem: str, epochs: int) -> list[str]:
    weights = checkpoint(stem, epochs)
    return [
        names.command('train.py', stem),
        names.command('test.py', stem, weights),
        names.command('infer.py', stem, weights, 'IMAGES'),
    ]
