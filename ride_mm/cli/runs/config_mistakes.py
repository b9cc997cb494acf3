"""Errors of MMEngine and PyTorch that a mistake in a config leads to, told as such."""

import inspect
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any

import mmengine
import mmpretrain
import torch
from mmengine.config import Config, ConfigDict

from ..configs.options import keys_of
from ..errors import UsageError
from .begin import BeginHook

OURS = Path(__file__).parents[2]
HOSTS = (OURS, *(Path(p.__file__).parent for p in (mmengine, mmpretrain, torch)))
# What reads the settings of a config: an error that starts here is of a setting.
READERS = (Path(mmengine.__file__).parent, *(HOSTS[-1] / p for p in ('optim', 'utils')))
KINDS = (TypeError, ValueError, KeyError, AttributeError, AssertionError)
KEYWORD = re.compile(r"unexpected keyword argument '(\w+)'")


@contextmanager
def mistakes_told(cfg: Config, begin: BeginHook) -> Iterator[None]:
    """Tell a mistake in a config by the setting, without MMEngine's traceback.

    Those are errors before a run begins which MMEngine, or an optimizer or a data
    loader of PyTorch, raises, or which are of an argument that a class does not take.
    Where code of the user's takes part, the traceback stays.

    Args:
        cfg: Of the run.
        begin: Registered in the runner.

    Raises:
        UsageError: With the setting, and what is wrong with it.
    """
    try:
        yield
    except KINDS as err:
        if begin.begun or not is_mistake(err):
            raise
        raise UsageError(in_words(err, cfg)) from err


def is_mistake(err: Exception) -> bool:
    """Whether an error is of what stands in a config."""
    files = [Path(frame.f_code.co_filename) for frame in frames_of(err)]
    argument = isinstance(err, TypeError) and KEYWORD.search(str(err)) is not None
    known = all(_within(file, HOSTS) for file in files)
    return known and (argument or _within(files[-1], READERS))


def in_words(err: Exception, cfg: Config) -> str:
    """What is wrong with which setting, in a line."""
    message = str(err.args[0] if err.args else err).split('. Please ')[0]
    message = message.strip() or type(err).__name__
    frames = frames_of(err)
    place = place_of(cfg, frames)
    return f'{place}: {message}{_hint(message, frames)}'


def frames_of(err: Exception) -> list[FrameType]:
    """Where an error came through, outermost first."""
    return [frame for frame, _ in traceback.walk_tb(err.__traceback__)]


def place_of(cfg: Config, frames: Sequence[FrameType]) -> str:
    """Dotted key of the innermost part of a config that was being built."""
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            if isinstance(value, ConfigDict) and value:
                parts = dict(cfg.items())
                keys = keys_of(lambda _, inner, now=value: _became(inner, now), parts)
                if keys:
                    return keys[0]
    return 'config'


def _became(inner: Any, now: ConfigDict) -> bool:
    """Whether a part of a config is the one at hand, which may have got more in it."""
    if not isinstance(inner, ConfigDict) or not inner:
        return False
    return all(key in now and inner[key] is now[key] for key in inner) or inner == now


def _hint(message: str, frames: Sequence[FrameType]) -> str:
    """Arguments that sound like one that a class does not take."""
    unknown = KEYWORD.search(message)
    built = [f.f_locals['obj_cls'] for f in frames if 'obj_cls' in f.f_locals]
    if unknown is None or not built or not inspect.isclass(built[-1]):
        return ''
    taken = {
        name
        for kind in built[-1].__mro__[:-1]
        for name in inspect.signature(kind.__init__).parameters
    }
    close = get_close_matches(unknown[1], sorted(taken - {'self', 'args', 'kwargs'}))
    return f'; did you mean {" or ".join(close)}?' if close else ''


def _within(file: Path, folders: Sequence[Path]) -> bool:
    return any(file.is_relative_to(folder) for folder in folders)
