"""A config that converted weights get, and whether the two fit."""

from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS

from ...utils.wrapped import innermost_config
from ..errors import UsageError

# What stands in for a metric whose predictions or counts a model does not have.
PLAIN_ACCURACY = dict(type='Accuracy', topk=(1,))


def check_base(model: dict, base: Config, name: str) -> None:
    """Refuse a config of another kind of network, whose data would not fit either.

    Args:
        model: Config of the model that the weights are of.
        base: The config that data, schedule and losses are taken from.
        name: Of ``base``.

    Raises:
        UsageError: If it has a backbone of another type.
    """
    backbone = (base.get('model') or {}).get('backbone') or {}
    got = backbone.get('type')
    got = got if isinstance(got, str) else getattr(got, '__name__', None)
    expected = model['backbone']['type']
    if got is not None and got.split('.')[-1] != expected:
        raise UsageError(
            f'{name}: expected a config with the backbone {expected}, that of the '
            f'weights, got {got}; name another one with --base'
        )


def check_config(cfg: Config, name: str) -> None:
    """Refuse a config that could not be used.

    Args:
        cfg: With the model of the weights.
        name: Of the config that it was made from.

    Raises:
        UsageError: If its data have other classes, or the model cannot be built.
    """
    expected, classes = cfg.model.head.num_classes, classes_of(cfg)
    if classes is not None and len(classes) != expected:
        raise UsageError(
            f'{name}: expected a config for data of {expected} classes, those of the '
            f'weights, got {len(classes)}; name another one with --base'
        )
    try:
        with torch.device('meta'):
            MODELS.build(cfg.model)
    except (TypeError, ValueError, KeyError) as err:
        raise UsageError(
            f'{name}: expected a config whose settings of the head fit the weights, '
            f'got {err}; name another one with --base'
        ) from None


def classes_of(cfg: Config) -> Sequence[str] | None:
    """Names of the classes in a config's test data, if it has them."""
    dataset = innermost_config((cfg.get('test_dataloader') or {}).get('dataset'))
    if dataset is None:
        return None
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    known = getattr(DATASETS.get(dataset.type), 'METAINFO', {})
    return {**known, **(dataset.get('metainfo') or {})}.get('classes')
