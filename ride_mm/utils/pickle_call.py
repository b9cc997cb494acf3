"""A function in the hands of a pickle that is not trusted."""

import pickle
from collections.abc import Callable
from typing import Any


class PickleCall:
    """A function that a pickle may call but not change."""

    __slots__ = ('_function',)

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError('it changes a function')
