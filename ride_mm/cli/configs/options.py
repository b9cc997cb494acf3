"""``--cfg-options`` that are checked before they are believed."""

import argparse
import inspect
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from ..errors import UsageError

# What MMEngine, MMPretrain and this package read from a config beside the parameters
# of a runner.
FURTHER_KEYS = frozenset(
    {
        'custom_imports',
        'find_unused_parameters',
        'model_wrapper_cfg',
        'runner_type',
        'sync_bn',
        'tta_model',
        'tta_pipeline',
    }
)


class OptionsAction(DictAction):
    """MMEngine's ``KEY=VALUE`` with errors that name the option.

    Spaces in a value that is no list stay, as in the path of a folder; MMEngine drops
    them.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        """Add the options to those before."""
        for value in values:
            if not value.partition('=')[0] or '=' not in value:
                raise argparse.ArgumentError(self, f'expected KEY=VALUE, got {value!r}')
            if re.search(r'\{|\bdict\(', value.partition('=')[2]):
                raise argparse.ArgumentError(
                    self,
                    'expected numbers, words and lists of them, got a dictionary in '
                    f'{value!r}; set its parts, KEY.PART=VALUE, or write it into a '
                    'config',
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as err:  # Brackets that do not match.
            raise argparse.ArgumentError(self, str(err)) from None

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """Turn the text of a value into the value."""
        value = val.strip('\'"')
        if ' ' in value and not any(sign in value for sign in ',[]()'):
            return value
        return DictAction._parse_iterable(val)


def merge_options(
    cfg: Config, options: Mapping[str, Any], flag: str = '--cfg-options'
) -> None:
    """Apply ``--cfg-options`` to a config.

    A variable of the config's file, such as ``data_root``, changes wherever it stands.

    Args:
        cfg: The config.
        options: New values by dotted key.
        flag: The option that they come from, for errors.

    Raises:
        UsageError: If one is no setting: a typo would change nothing, silently.
    """
    settings = {*inspect.signature(Runner.__init__).parameters, *FURTHER_KEYS}
    settings -= {'self', 'cfg'}
    known = {*cfg, *settings}
    for option in options:
        name = option.split('.')[0]
        if name not in known:
            close = get_close_matches(name, sorted(known))
            hint = f'; did you mean {" or ".join(close)}?' if close else ''
            raise UsageError(
                f'{flag} {option}: expected a setting of the config or of '
                f"MMEngine's runner, got {name!r}{hint}"
            )
    variables = {
        option: value
        for option, value in options.items()
        if (name := option.split('.')[0]) in cfg and name not in settings
    }
    try:
        cfg.merge_from_dict({**spread_variables(cfg, variables, flag), **options})
    except (KeyError, TypeError, IndexError) as err:
        raise UsageError(
            f'{flag}: expected settings that fit the config, got {err.args[0]}'
        ) from None


def spread_variables(
    cfg: Config, variables: Mapping[str, Any], flag: str = '--cfg-options'
) -> dict[str, Any]:
    """Find the settings that variables of a config stand in.

    A variable such as ``data_root`` is used while the config's file is read; afterwards
    it changes nothing. So it is changed in its place: a plain value where a setting has
    its name and its value, a list where one is equal, a dictionary where another one
    has all that is in it.

    Args:
        cfg: The config.
        variables: New values of its variables or of parts of them, by dotted key.
        flag: The option that they come from, for errors.

    Returns:
        New values of the settings, by dotted key; none for a list or dictionary that
        stands nowhere, which may be for code of the user's.

    Raises:
        UsageError: If a plain value stands nowhere.
    """
    found = {}
    for option, value in variables.items():
        name, _, part = option.partition('.')
        others = {key: other for key, other in cfg.items() if key != name}
        keys = keys_of(partial(_stands_in, name, cfg[name], bool(part)), others)
        if not keys and not isinstance(cfg[name], (dict, list, tuple)):
            raise UsageError(
                f'{flag} {name}: expected a setting, got a variable that was '
                'used when the config was read; change it in the file, or name what it '
                'has become'
            )
        found.update({f'{key}.{part}' if part else key: value for key in keys})
    return found


def _stands_in(name: str, value: Any, part: bool, key: Any, inner: Any) -> bool:
    """Whether a setting comes from a variable, of which a part is changed, or all."""
    if not isinstance(value, (dict, list, tuple)):
        return key == name and inner == value
    if part and isinstance(value, dict) and isinstance(inner, dict):
        # One entry alone may be there by chance.
        return inner == value or (len(value) > 1 and value.items() <= inner.items())
    return bool(value) and inner == value


def keys_of(wanted: Callable[[Any, Any], bool], part: Any, path: str = '') -> list[str]:
    """Dotted keys of those settings in a part of a config that are wanted."""
    keys = []
    items = part.items() if isinstance(part, Mapping) else enumerate(part)
    for key, inner in items:
        if wanted(key, inner):
            keys.append(f'{path}{key}')
        if isinstance(inner, (Mapping, list, tuple)):
            keys += keys_of(wanted, inner, f'{path}{key}.')
    return keys
