"""The config that MMEngine writes into a checkpoint, read as data.

A config is a program, and one that comes with weights is somebody else's: it is not run
here. Of its text only literals and ``dict(...)`` are understood, and of its settings
only those that a test needs.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mmengine.registry
import mmpretrain.registry
from mmengine.registry import Registry

from ..utils import resource_root

KEYS = ('model', 'data_preprocessor', 'test_dataloader', 'test_evaluator', 'test_cfg')
# Others may write files wherever they are told to.
METRICS = ('Accuracy', 'ShotAccuracy', 'ExpertAccuracy', 'ExpertUsage')
METRIC_SETTINGS = ('type', 'topk', 'many', 'few', 'class_counts')


def settings_in(text: str) -> dict[str, Any]:
    """Read what a test needs from the text of a config.

    Args:
        text: As MMEngine writes it: assignments of literals and ``dict(...)``.

    Returns:
        The settings named in ``KEYS`` that are there.

    Raises:
        ValueError: If the text has anything but data, or a setting asks for what is not
            registered in MMPretrain or lies on the web.
    """
    try:
        statements = ast.parse(text).body
        settings = {
            statement.targets[0].id: _value(statement.value)
            for statement in statements
            if _assigns(statement)
        }
    except (SyntaxError, RecursionError, MemoryError) as err:
        raise ValueError(
            f'config in the checkpoint: expected Python, got {type(err).__name__}'
        ) from None
    settings = {key: settings[key] for key in KEYS if key in settings}
    for key in ('model', 'test_dataloader'):
        if not isinstance(settings.get(key), dict):
            raise ValueError(f'config in the checkpoint: expected {key}, got none')
    _check_types(settings, registered_types())
    _check_places(settings['test_dataloader'])
    settings['test_evaluator'] = _metrics(settings.get('test_evaluator'))
    settings.setdefault('test_cfg', {})
    return settings


def _assigns(statement: ast.stmt) -> bool:
    if not (
        isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and isinstance(statement.targets[0], ast.Name)
    ):
        raise ValueError(
            'config in the checkpoint: expected KEY = VALUE, got another statement in '
            f'line {statement.lineno}'
        )
    return statement.targets[0].id in KEYS


def _value(node: ast.expr) -> Any:
    """The value of a literal, in which ``dict(a=1)`` may stand for ``{'a': 1}``."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        kind = list if isinstance(node, ast.List) else tuple
        return kind(_value(item) for item in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        pairs = zip(node.keys, node.values, strict=True)
        return {_key(key): _value(value) for key, value in pairs}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand)
        if isinstance(value, (int, float)):
            return -value
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'dict'
        and not node.args
        and all(word.arg is not None for word in node.keywords)
    ):
        return {word.arg: _value(word.value) for word in node.keywords}
    raise ValueError(
        'config in the checkpoint: expected numbers, strings, lists and dict(...), got '
        f'{ast.unparse(node)[:40]!r} in line {node.lineno}'
    )


def _key(node: ast.expr) -> Any:
    if not isinstance(node, ast.Constant):
        raise ValueError(
            'config in the checkpoint: expected a key that is a string or a number in '
            f'line {node.lineno}'
        )
    return node.value


def registered_types() -> set[str]:
    """Names of all that MMEngine's and MMPretrain's registries can build."""
    found = set()
    for module in (mmengine.registry, mmpretrain.registry):
        for registry in vars(module).values():
            if isinstance(registry, Registry):
                registry.import_from_location()
                found.update(registry.module_dict)
    return found


def _check_types(settings: Any, known: set[str]) -> None:
    """Refuse a ``type`` that is not registered; MMEngine would import any other."""
    for part in _parts(settings):
        if not isinstance(part, dict):
            continue
        kind = part.get('type')
        if '_scope_' in part or (isinstance(kind, str) and kind not in known):
            raise ValueError(
                'config in the checkpoint: expected types that are registered in '
                f'MMPretrain, got {kind!r}; put the config beside the checkpoint'
            )


def _check_places(settings: Any) -> None:
    """Refuse addresses: some data sets unpickle what they find there."""
    for part in _parts(settings):
        if isinstance(part, str) and '://' in part:
            raise ValueError(
                'config in the checkpoint: expected data on this machine, got '
                f'{part!r}; put the config beside the checkpoint'
            )


def _metrics(evaluator: Any) -> list[dict]:
    """The metrics that only compute."""
    given = evaluator if isinstance(evaluator, list) else [evaluator]
    kept = [
        {key: one[key] for key in METRIC_SETTINGS if key in one}
        for one in given
        if isinstance(one, dict) and one.get('type') in METRICS
    ]
    return kept or [dict(type='Accuracy')]


def _parts(setting: Any) -> Iterator[Any]:
    """A setting and all that it is made of."""
    yield setting
    if isinstance(setting, dict):
        setting = list(setting.values())
    if isinstance(setting, (list, tuple)):
        for item in setting:
            yield from _parts(item)


def write_config(settings: Mapping[str, Any], path: Path) -> None:
    """Write a config that inherits hooks and environment from the shipped ones.

    Args:
        settings: Plain data, of :func:`settings_in`.
        path: Where to, ending in ``.py``.
    """
    runtime = resource_root() / 'configs' / '_base_' / 'default_runtime.py'
    lines = [f'{key} = {value!r}\n' for key, value in settings.items()]
    path.write_text(f'_base_ = [{str(runtime)!r}]\n{"".join(lines)}', encoding='utf-8')


def name_in(meta: Mapping[str, Any]) -> str | None:
    """Name of the config that a checkpoint was trained with, as MMEngine notes it."""
    name = meta.get('experiment_name')
    return re.sub(r'_\d{8}_\d{6}$', '', name) if isinstance(name, str) else None
