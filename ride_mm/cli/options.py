"""``--cfg-options`` that are checked before they are believed."""

import argparse
import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from .errors import UsageError

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


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Apply ``--cfg-options`` to a config.

    A variable of the config's file, such as ``data_root``, changes wherever it stands.

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
                f'--cfg-options {option}: expected a setting of the config or of '
                f"MMEngine's runner, got {name!r}{hint}"
            )
    variables = {name: value for name, value in options.items() if name in cfg}
    for name in settings.intersection(variables):
        del variables[name]
    try:
        cfg.merge_from_dict({**spread_variables(cfg, variables), **options})
    except (KeyError, TypeError, IndexError) as err:
        raise UsageError(
            f'--cfg-options: expected settings that fit the config, got {err.args[0]}'
        ) from None


def spread_variables(cfg: Config, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Find the settings that variables of a config stand in.

    A variable such as ``data_root`` is used while the config's file is read; afterwards
    it changes nothing. So what has its name and its value is changed in its place.

    Args:
        cfg: The config.
        variables: New values of its variables, by name; those that are no plain values
            are passed over.

    Returns:
        New values of the settings, by dotted key.

    Raises:
        UsageError: If there are none.
    """
    found = {}
    for name, value in variables.items():
        if isinstance(cfg[name], (dict, list, tuple)):
            continue
        everything = dict(cfg.items())
        keys = [k for k in _keys_named(name, cfg[name], everything) if '.' in k]
        if not keys:
            raise UsageError(
                f'--cfg-options {name}: expected a setting, got a variable that was '
                'used when the config was read; name the setting that it stands in, '
                'such as train_dataloader.dataset.type'
            )
        found.update(dict.fromkeys(keys, value))
    return found


def _keys_named(name: str, value: Any, part: Any, path: str = '') -> Iterator[str]:
    """Dotted keys of what has a name and a value in a part of a config."""
    if isinstance(part, Mapping):
        items = part.items()
    elif isinstance(part, (list, tuple)):
        items = enumerate(part)
    else:
        return
    for key, inner in items:
        if key == name and inner == value:
            yield f'{path}{key}'
        yield from _keys_named(name, value, inner, f'{path}{key}.')
