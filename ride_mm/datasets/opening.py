"""Open a config's data sets for inspection, whatever is wrong with them."""

import inspect
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from mmpretrain.registry import DATASETS

# Files and classes are looked at afterwards, all of them; nothing is fetched.
UNCHECKED = {
    'check_images': 'none',
    'probe': 0,
    'allow_empty': True,
    'download': False,
}
ANYTHING = {
    'expected_counts': None,
    'expected_hash': None,
    'check_md5': False,
}


def open_dataset(settings: Mapping[str, Any]) -> tuple[Any, str | None]:
    """Build a data set, with less checks if it does not pass them.

    Args:
        settings: Its config.

    Returns:
        The data set, or None if it cannot be read at all, and what is wrong, or None.
    """
    try:
        return _build(settings, UNCHECKED), None
    except Exception as err:
        fault = describe_error(err)
    try:
        return _build(settings, {**UNCHECKED, **ANYTHING}), fault
    except Exception as err:
        return None, describe_error(err)


def describe_error(err: Exception) -> str:
    """An error in words; the host's builders put their own around it."""
    text = str(err).strip()
    # MMEngine: class `X` in module/path.py: MESSAGE
    _, mark, message = text.partition('.py: ')
    text = message if mark and text.startswith('class `') else text
    known = isinstance(err, (ValueError, RuntimeError, FileNotFoundError))
    return text if known and text else f'{type(err).__name__}: {text}'


def _build(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> Any:
    dataset = DATASETS.build(_changed(settings, changes))
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return dataset


def _changed(settings: Any, changes: Mapping[str, Any]) -> Any:
    """Config with the changes wherever a data set in it has such an argument."""
    if isinstance(settings, (list, tuple)):
        return [_changed(one, changes) for one in settings]
    if not isinstance(settings, Mapping):
        return deepcopy(settings)
    changed = {
        key: _changed(value, changes)
        if key in ('dataset', 'datasets')
        else deepcopy(value)
        for key, value in settings.items()
    }
    kind = settings.get('type')
    found = DATASETS.get(kind) if isinstance(kind, str) else kind
    if found is not None:
        known = _arguments(found)
        changed.update({key: v for key, v in changes.items() if key in known})
    return changed


def _arguments(kind: type) -> set[str]:
    """Names of a class's arguments, with those that ``**kwargs`` hand to its bases."""
    names: set[str] = set()
    for base in kind.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters
        names.update(parameters)
        if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
            break
    return names
