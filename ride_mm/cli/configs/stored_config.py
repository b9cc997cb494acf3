"""The config that MMEngine writes into a checkpoint, read as data.

A config is a program, and one that comes with weights is somebody else's: it is not run
here. Of its text only literals and ``dict(...)`` are understood, of its settings only
those that a test needs are taken, and what they may name is a list of our own.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from ...utils import resource_root
from .allowed_settings import check_allowed, without_training
from .syntax import parse_config

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
        ValueError: If the text has anything but data, or a setting asks for what
            :func:`~ride_mm.cli.configs.allowed_settings.check_allowed` refuses.
    """
    try:
        statements = parse_config(text)
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
    for key in settings.keys() & {'model', 'data_preprocessor'}:
        settings[key] = without_training(settings[key])
    settings['test_evaluator'] = _metrics(settings.get('test_evaluator'))
    loop = settings.get('test_cfg')
    half = isinstance(loop, dict) and loop.get('fp16') is True
    settings['test_cfg'] = {'fp16': True} if half else {}
    check_allowed(settings)
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


def _metrics(evaluator: Any) -> list[dict]:
    """The metrics that only compute."""
    given = evaluator if isinstance(evaluator, list) else [evaluator]
    kept = [
        {key: one[key] for key in METRIC_SETTINGS if key in one}
        for one in given
        if isinstance(one, dict) and one.get('type') in METRICS
    ]
    return kept or [dict(type='Accuracy')]


def config_from(settings: Mapping[str, Any]) -> Config:
    """Make a config of settings, with the hooks and environment of the shipped ones.

    The settings never become the text of a config, in which MMEngine replaces
    variables.

    Args:
        settings: Plain data, of :func:`settings_in`.
    """
    runtime = resource_root() / 'configs' / '_base_' / 'default_runtime.py'
    return Config({**Config.fromfile(runtime).to_dict(), **settings})


def name_in(meta: Mapping[str, Any]) -> str | None:
    """Name of the config that a checkpoint was trained with, as MMEngine notes it."""
    name = meta.get('experiment_name')
    return re.sub(r'_\d{8}_\d{6}$', '', name) if isinstance(name, str) else None
