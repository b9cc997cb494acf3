"""The plain network that a model with experts is compared with."""

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from mmpretrain.registry import MODELS

from ..models.classifiers import RIDEClassifier
from .complexity import model_complexity

# Of a head, what decides its size and cost.
HEAD_ARGUMENTS = ('num_classes', 'classifier', 'scale')


def plain_model(model_cfg: Mapping) -> dict:
    """Find the plain network of a model with experts: one expert of full width.

    The backbone's ``expert_width`` becomes 1; without such a parameter it is the
    backbone with one of its experts. What the model is trained with (losses,
    augmentation) and routers are left out.

    Args:
        model_cfg: Config of a ``RIDEClassifier``.

    Returns:
        Config of a ``RIDEClassifier`` with one expert.

    Raises:
        ValueError: If the config is of another model, or lacks backbone or head, or the
            backbone is not registered.
    """
    kind = _registered(model_cfg)
    if not (inspect.isclass(kind) and issubclass(kind, RIDEClassifier)):
        raise ValueError(
            'model: expected the config of a RIDEClassifier, got type='
            f'{model_cfg.get("type")!r}'
        )
    if not (model_cfg.get('backbone') and model_cfg.get('head')):
        raise ValueError(
            f'model: expected backbone and head, got {sorted(model_cfg)} only'
        )
    backbone = {k: v for k, v in model_cfg['backbone'].items() if k != 'num_experts'}
    kind = _registered(backbone)
    if kind is None:
        raise ValueError(f'backbone: expected a registered one, got {backbone["type"]}')
    if 'expert_width' in inspect.signature(kind).parameters:
        backbone['expert_width'] = 1.0
    head = {k: model_cfg['head'][k] for k in HEAD_ARGUMENTS if k in model_cfg['head']}
    return dict(
        type='RIDEClassifier',
        num_experts=1,
        backbone=deepcopy(backbone),
        neck=deepcopy(model_cfg.get('neck')),
        head=dict(type='MultiExpertHead', **head),
    )


def plain_complexity(model_cfg: Mapping, input_shape: Sequence[int]) -> tuple[int, int]:
    """Count the parameters and multiply-adds of the plain network, for one image.

    It is built on the CPU; PyTorch's random numbers go on as if it was not.

    Args:
        model_cfg: Config of a ``RIDEClassifier``, of which this is the plain network.
        input_shape: (3, H, W).

    Returns:
        Number of parameters and of multiply-adds.

    Raises:
        ValueError: As :func:`plain_model`.
    """
    with torch.random.fork_rng(devices=()):
        model = MODELS.build(plain_model(model_cfg))
    return model_complexity(model, input_shape)


def _registered(cfg: Mapping) -> object:
    kind = cfg.get('type')
    return MODELS.get(kind) if isinstance(kind, str) else kind
