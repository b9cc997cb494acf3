"""A config for weights of the authors' code: a shipped one with their network."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from ...engine.hooks.class_counts import count_classes
from ..errors import UsageError
from ..files import existing_file
from .base_config import PLAIN_ACCURACY

ROUTERS_ONLY = (
    'top_z',
    'hidden_channels',
    'shared',
    'router_init',
    'pos_weight',
    'thresholds',
    'threshold_logits',
)
BY_ROUTERS = dict(ExpertAccuracy=dict(type='ExpertUsage'))
BY_EXPERTS = dict(ExpertUsage=dict(type='ExpertAccuracy'))


def config_of(model: dict, base: Config, counts_known: bool) -> Config:
    """A config with the network of the weights, and all else of another.

    Its losses are kept, unscaled ones for linear classifiers. Metrics are exchanged for
    those that fit: of single experts or of routers, and plain accuracy in place of that
    by shots where the class counts are not known.

    Args:
        model: Config of the model that the weights are of.
        base: The other config; it is not changed.
        counts_known: Whether the checkpoint has the class counts.
    """
    cfg = deepcopy(base)
    routed = model['head']['type'] == 'RouterHead'
    head = ConfigDict((cfg.get('model') or {}).get('head') or {})
    for setting in ROUTERS_ONLY:
        if not routed or setting in ('top_z', 'thresholds', 'threshold_logits'):
            head.pop(setting, None)
    head.update(model['head'])
    if head.classifier == 'linear':
        head.pop('scale', None)
        if 'scale' in (head.get('loss') or {}):
            head.loss.scale = 1.0
    cfg.model = ConfigDict(deepcopy(model), head=head)
    if 'num_classes' in (cfg.get('data_preprocessor') or {}):
        cfg.data_preprocessor.num_classes = head.num_classes
    others = dict(BY_ROUTERS if routed else BY_EXPERTS)
    if not counts_known:
        others['ShotAccuracy'] = PLAIN_ACCURACY
    for name in ('val_evaluator', 'test_evaluator'):
        metrics = cfg.get(name)
        if isinstance(metrics, list):
            cfg[name] = [others.get(metric['type'], metric) for metric in metrics]
    cfg.pop('work_dir', None)
    cfg.load_from = None
    return cfg


def counts_in_json(path: str) -> Any:
    """What a JSON file holds.

    Raises:
        UsageError: If there is no such file, or it is no JSON.
    """
    text = Path(existing_file(path, 'a JSON file')).expanduser().read_text()
    try:
        return json.loads(text)
    except ValueError as err:
        raise UsageError(f'{path}: expected JSON, got {err}') from None


def counts_of_training_set(cfg: Config, name: str) -> list[int]:
    """Images of each class in a config's training set.

    Raises:
        UsageError: If it cannot be counted.
    """
    loader = cfg.get('train_dataloader')
    if loader is None:
        raise UsageError(f'{name}: expected train_dataloader in the config, got none')
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    try:
        return count_classes(DATASETS.build(loader.dataset)).tolist()
    except (OSError, ValueError, TypeError, RuntimeError) as err:
        raise UsageError(
            f'{name}: expected a training set that can be counted, got '
            f'{type(err).__name__}: {err}'
        ) from None


def check_counts(counts: Any, num_classes: int, source: str) -> None:
    """Refuse what are no class counts of so many classes.

    Raises:
        UsageError: With expected and got.
    """
    expected = f'{source}: expected a list of {num_classes} numbers of training images'
    if not isinstance(counts, list):
        raise UsageError(f'{expected}, got {type(counts).__name__}')
    if len(counts) != num_classes:
        raise UsageError(f'{expected}, one for each class, got {len(counts)}')
    wrong = [n for n in counts if type(n) is not int or not 0 <= n < 2**63]
    if wrong or not any(counts):
        raise UsageError(f'{expected}, got {repr(wrong[0]) if wrong else "zeros only"}')
