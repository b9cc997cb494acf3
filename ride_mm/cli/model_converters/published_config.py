"""The config in a checkpoint without what belongs to the machine of its training.

The text is edited as data: a config is a program, and it is not run here.
"""

import ast

from ..configs.syntax import parse_config

# Settings that say where a run was, what it began with and who taught it.
LOCAL = ('work_dir', 'load_from', 'resume', 'default_hooks.teacher', 'model.distill')
# What MMEngine writes; the names are those of ``dict(...)`` and of numbers.
PLAIN = (
    ast.Constant,
    ast.List,
    ast.Tuple,
    ast.Dict,
    ast.UnaryOp,
    ast.USub,
    ast.keyword,
    ast.Load,
)
NUMBERS = ('inf', 'nan')


def without_local_settings(text: str) -> str:
    """Drop the settings named in ``LOCAL``; the others remain word for word.

    Args:
        text: As MMEngine writes it: assignments of literals and ``dict(...)``.

    Raises:
        ValueError: If the text has anything else.
    """
    try:
        statements = parse_config(text)
        kept = [_edited(statement, text) for statement in statements]
    except (SyntaxError, RecursionError, MemoryError) as err:
        raise ValueError(f'expected Python, got {type(err).__name__}') from None
    return ''.join(f'{line}\n' for line in kept if line is not None)


def _edited(statement: ast.stmt, text: str) -> str | None:
    """The text of an assignment, without the settings to drop; None for one of these.

    Raises:
        ValueError: If it is no assignment of plain data.
    """
    if not (
        isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and isinstance(statement.targets[0], ast.Name)
    ):
        raise ValueError(
            f'expected KEY = VALUE, got another statement in line {statement.lineno}'
        )
    _check_plain(statement.value)
    name = statement.targets[0].id
    if name in LOCAL:
        return None
    inner = [key.split('.')[1] for key in LOCAL if key.startswith(f'{name}.')]
    dropped = [_drop(statement.value, key) for key in inner]
    if any(dropped):
        return ast.unparse(statement)
    return ast.get_source_segment(text, statement)


def _check_plain(node: ast.AST) -> None:
    """Refuse what is neither a literal nor ``dict(a=1)``."""
    if isinstance(node, ast.Call):
        words = node.keywords
        plain = isinstance(node.func, ast.Name) and node.func.id == 'dict'
        plain = plain and not node.args and all(word.arg is not None for word in words)
        parts = words
    elif isinstance(node, ast.Name):
        plain, parts = node.id in NUMBERS, []
    elif isinstance(node, ast.Dict):
        plain = all(isinstance(key, ast.Constant) for key in node.keys)
        parts = node.values
    else:
        plain, parts = isinstance(node, PLAIN), ast.iter_child_nodes(node)
    if not plain:
        raise ValueError(
            'expected numbers, strings, lists and dict(...), got '
            f'{ast.unparse(node)[:40]!r} in line {node.lineno}'
        )
    for part in parts:
        _check_plain(part)


def _drop(node: ast.expr, key: str) -> bool:
    """Drop an entry of a dictionary, in place, and say whether there was one."""
    if isinstance(node, ast.Call):
        kept = [word for word in node.keywords if word.arg != key]
        dropped = len(kept) < len(node.keywords)
        node.keywords = kept
        return dropped
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        kept = [(k, v) for k, v in pairs if k.value != key]
        dropped = len(kept) < len(node.keys)
        node.keys, node.values = [k for k, _ in kept], [v for _, v in kept]
        return dropped
    return False
