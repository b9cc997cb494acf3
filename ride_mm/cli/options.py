"""``--cfg-options`` that are checked before they are believed."""

import argparse
import inspect
from collections.abc import Mapping
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

    Raises:
        UsageError: If one is no setting: a typo would change nothing, silently.
    """
    known = {*cfg, *inspect.signature(Runner.__init__).parameters, *FURTHER_KEYS}
    known -= {'self', 'cfg'}
    for option in options:
        name = option.split('.')[0]
        if name not in known:
            close = get_close_matches(name, sorted(known))
            hint = f'; did you mean {" or ".join(close)}?' if close else ''
            raise UsageError(
                f'--cfg-options {option}: expected a setting of the config or of '
                f"MMEngine's runner, got {name!r}{hint}"
            )
    try:
        cfg.merge_from_dict(dict(options))
    except (KeyError, TypeError, IndexError) as err:
        raise UsageError(
            f'--cfg-options: expected settings that fit the config, got {err.args[0]}'
        ) from None
