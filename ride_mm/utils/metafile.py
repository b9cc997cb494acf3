"""What the metafiles say about the models of ride_mm."""

from functools import cache
from typing import Any

import yaml

from .resources import PACKAGE, resource_root
from .shots import SHOT_GROUPS


@cache
def model_entries() -> dict[str, dict[str, Any]]:
    """Entries of the metafiles that ``model-index.yml`` imports, by the model's name.

    A name is that of the config's file without its ending.
    """
    root = resource_root()
    index = yaml.safe_load((root / 'model-index.yml').read_text(encoding='utf-8'))
    entries = {}
    for path in index['Import']:
        content = yaml.safe_load((root / path).read_text(encoding='utf-8'))
        entries.update({entry['Name']: entry for entry in content['Models']})
    return entries


def shipped_weights(name: str) -> str | None:
    """Path or address of the weights that a model's metafile names, if it does.

    Args:
        name: Of the model, such as ``'ride_r20_digitslt_router'``.

    Raises:
        FileNotFoundError: If they should lie inside the package, but do not.
    """
    weights = model_entries().get(name, {}).get('Weights')
    if weights is None or '://' in weights:
        return weights
    path = PACKAGE.parent / weights
    if not path.is_file():
        raise FileNotFoundError(f'{name}: expected its weights in {path}, got none')
    return str(path)


def known_accuracy(name: str, whose: str) -> dict[str, float]:
    """Accuracy that a model's metafile gives.

    Args:
        name: Of the model.
        whose: A word that the names of the metrics have: ``'published'``, by the
            authors, or ``'measured'``, by a command of this repository; such as
            ``Top 1 Accuracy, many-shot (published by the authors)``.

    Returns:
        Top-1 in percent by group: ``all``, ``many``, ``medium``, ``few``, as far as it
        is known.
    """
    found = {}
    for result in model_entries().get(name, {}).get('Results') or []:
        for metric, value in (result.get('Metrics') or {}).items():
            words = metric.lower()
            if whose in words and 'accuracy' in words and 'top 5' not in words:
                group = next((g for g in SHOT_GROUPS if g in words), 'all')
                found[group] = float(value)
    return found
