"""The authors' released weights as a RIDEClassifier."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from mmpretrain.registry import MODELS
from torch import Tensor

from ..engine.checkpoint_io import CheckpointError, load_foreign_checkpoint
from ..engine.hooks.fit_check import misfits
from ..models import RIDEClassifier
from .official_names import official_names
from .official_network import OfficialNetwork, describe, without_wrappers


def load_official(source: str | Path | Mapping) -> RIDEClassifier:
    """Make a model of weights of the authors' code.

    Those of https://github.com/frank-xwang/RIDE-LongTailRecognition: depth, width,
    experts, classes, classifiers and routers follow from the shapes. A file is read
    without executing anything of it.

    Args:
        source: A ``.pth`` file of the authors' code, what it holds, or its
            ``state_dict``.

    Returns:
        The model in eval mode, on the CPU. ``model(x, mode='tensor')`` maps images
        (N, 3, H, W) to logits (N, C), routed if the weights have routers. The images
        are RGB, divided by 255 and normalised with the authors' constants:
        mean (.4914, .4822, .4465), std (.2023, .1994, .2010) for CIFAR;
        (.485, .456, .406), (.229, .224, .225) for ImageNet-LT;
        (.466, .471, .380), (.195, .194, .192) for iNaturalist.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedCheckpointError: If it is truncated.
        CheckpointError: If the weights are not those of a network of the authors, with
            the first difference, or not finite floating-point numbers.
        TypeError: If ``source`` is something else.
    """
    config, weights = convert_official(official_state_dict(source))
    model = MODELS.build(config)
    # Nothing is missing but counts and thresholds, which released weights do not have.
    model.load_state_dict(weights, strict=False)
    return model.eval()


def official_state_dict(source: str | Path | Mapping) -> Mapping[str, Tensor]:
    """Tensors by name from a file, from what it holds, or as they are.

    Raises:
        CheckpointError: If there are none.
        TypeError: If ``source`` is neither a path nor a mapping.
    """
    if not isinstance(source, (str, os.PathLike, Mapping)):
        raise TypeError(
            "source: expected a path, what such a file holds or its 'state_dict', got "
            f'{type(source).__name__}'
        )
    if not isinstance(source, Mapping):
        return load_foreign_checkpoint(source).state_dict
    state_dict = source.get('state_dict', source)
    if not isinstance(state_dict, Mapping) or not state_dict:
        raise CheckpointError(
            f'expected tensors by name, got {type(state_dict).__name__}'
            f'{" without any" * isinstance(state_dict, Mapping)}'
        )
    for name, tensor in state_dict.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f'{name!r}: expected a tensor, got {type(tensor).__name__}'
            )
    return state_dict


def convert_official(state_dict: Mapping[str, Tensor]) -> tuple[dict, dict]:
    """Rename the tensors of the authors' code, and describe their network.

    Args:
        state_dict: Theirs; ``module.`` before the names is passed over.

    Returns:
        The config of the :class:`RIDEClassifier`, and its state dict. It has neither
        class counts nor thresholds: weights alone do not tell the counts, and the
        authors' threshold is 0.5, which is the default.

    Raises:
        CheckpointError: With the first difference to a network of the authors, or the
            first tensor of other numbers than finite floating-point ones.
    """
    weights = without_wrappers(state_dict)
    network = describe(weights)
    names = _fitting_names(weights, network)
    for name in names:
        _check_numbers(name, weights[name])
    return network.model(), {ours: weights[theirs] for theirs, ours in names.items()}


def _check_numbers(name: str, tensor: Tensor) -> None:
    """Refuse what would be cut to fit, or make every output NaN."""
    dtype = str(tensor.dtype).removeprefix('torch.')
    if name.endswith('num_batches_tracked'):
        if tensor.is_floating_point() or tensor.is_complex():
            raise CheckpointError(f'{name}: expected whole numbers, got {dtype}')
        return
    if not tensor.is_floating_point():
        raise CheckpointError(f'{name}: expected floating-point numbers, got {dtype}')
    if tensor.is_meta:
        return
    finite = tensor.float().isfinite()  # The model's type, beyond which all is inf.
    if not finite.all():
        raise CheckpointError(
            f'{name}: expected finite numbers, got {tensor[~finite][0].item()}'
        )


def _fitting_names(
    weights: Mapping[str, Tensor], network: OfficialNetwork
) -> dict[str, str]:
    """Our names by the authors', if all tensors are there in the right shapes."""
    if network.routed and network.num_experts < 2:
        raise CheckpointError('routers: expected none with 1 expert, got some')
    if network.routed and network.top_z > network.num_classes:
        raise CheckpointError(
            f'routers: expected to look at no more than the {network.num_classes} '
            f'logits there are, got {network.top_z}'
        )
    if network.groups > 1 and network.expert_width * 4 % 1:
        raise CheckpointError(
            f'expert_width of {network.name}: expected a multiple of 0.25, got '
            f'{network.expert_width:g}'
        )
    try:
        with torch.device('meta'):  # The shapes alone.
            expected = MODELS.build(network.model()).state_dict()
    except ValueError as err:  # Such as a shortcut that would drop channels.
        raise CheckpointError(f'{network.name}: {err}') from None
    names = official_names(expected, network)
    found = misfits({theirs: expected[ours] for theirs, ours in names.items()}, weights)
    if found:
        more = f' (and {len(found) - 1} more differences)' * (len(found) > 1)
        raise CheckpointError(
            f'not the weights of {network.name} with {network.num_experts} experts and '
            f'{network.num_classes} classes: {found[0]}{more}'
        )
    return {
        theirs: ours
        for theirs, ours in names.items()
        # But for num_batches_tracked, which old files lack and nothing needs.
        if theirs in weights and weights[theirs].shape == expected[ours].shape
    }
