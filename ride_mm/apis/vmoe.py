"""The released weights of V-MoE as a classifier of MMPretrain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..engine.checkpoint_io import CheckpointError
from ..engine.checkpoint_io.vmoe import VMoEIndex, read_vmoe_arrays, read_vmoe_index
from ..engine.hooks.fit_check import first_of, not_finite
from ..models.layers.position_embedding import resize_positions
from .vmoe_names import ride_mm_state
from .vmoe_network import (
    DEFAULT_SIZE,
    POSITIONS,
    Differences,
    VMoENetwork,
    compare,
    describe,
    parameter_names,
)

# Room of the experts in training and testing, as the authors' configs of these files
# have it.
RELEASED = {
    'vmoe_s32_last2_ilsvrc2012_randaug_light1': (1.05, 4.0),
    'vmoe_s32_last2_ilsvrc2012_randaug_light1_ft_ilsvrc2012': (1.5, 1.5),
    'vmoe_s32_last2_ilsvrc2012_randaug_medium': (1.05, 4.0),
    'vmoe_b16_imagenet21k_randaug_strong': (1.05, 1.05),
    'vmoe_b16_imagenet21k_randaug_strong_ft_ilsvrc2012': (1.5, 1.5),
    'vmoe_b16_imagenet21k_randaug_strong_ft_cifar10': (1.5, 1.5),
}


OUR_POSITIONS = 'backbone.pos_embed'


@dataclass(frozen=True)
class ConvertedVMoE:
    """A checkpoint of V-MoE's JAX code in our terms.

    Attributes:
        config: Of the classifier.
        state_dict: Its tensors; without those that the file lacks.
        network: What was recognised.
        differences: What the file lacks, and what of it was not used.
    """

    config: dict
    state_dict: dict[str, Tensor]
    network: VMoENetwork
    differences: Differences


def load_vmoe(
    prefix: str | Path,
    image_size: int | Sequence[int] | None = None,
    router: Mapping | None = None,
    pos_embed: str = 'none',
    allow_missing: bool = False,
) -> nn.Module:
    """Make a model of a checkpoint of V-MoE's JAX code.

    Those of https://github.com/google-research/vmoe: sizes, blocks with experts,
    pooling and classes follow from names and shapes. Nothing of a file is executed.

    Args:
        prefix: Path of ``PREFIX.index`` and ``PREFIX.data-*`` without what differs.
        image_size: Pixels of the images, a number or height and width; by default those
            that it was trained on. For others the position embeddings are resized as
            the authors do.
        router: Settings of ``NoisyTopKRouter`` that weights do not tell. By default
            ``num_selected`` is 2; the room of the experts, ``capacity_factor`` and
            ``eval_capacity_factor``, is that of the authors for files under their
            released names, otherwise the router's default.
        pos_embed: What to do for positions where none were learned: ``'none'`` or
            ``'sincos2d'``.
        allow_missing: Let parameters that the file lacks be random. Those of the
            classifier may always be missing, all together: then there is none, and
            the model gives features.

    Returns:
        The model in eval mode, on the CPU. ``model(x, mode='tensor')`` maps images
        (N, 3, H, W) to logits (N, C). The images are RGB, divided by 127.5, minus 1.

    Raises:
        FileNotFoundError: If a file is missing.
        DamagedCheckpointError: If one is truncated, damaged or of another checkpoint.
        CheckpointError: If the parameters are not those of a V-MoE, with the first
            differences, or not finite.
        ValueError: If a setting makes no sense.
    """
    converted = convert_vmoe(prefix, image_size, router, pos_embed, allow_missing)
    model = MODELS.build(converted.config)
    if converted.differences.missing:
        model.init_weights()
    model.load_state_dict(converted.state_dict, strict=False)
    return model.eval()


def convert_vmoe(
    prefix: str | Path,
    image_size: int | Sequence[int] | None = None,
    router: Mapping | None = None,
    pos_embed: str = 'none',
    allow_missing: bool = False,
) -> ConvertedVMoE:
    """Read a checkpoint of V-MoE's JAX code, with our names and layout.

    Args and errors are those of :func:`load_vmoe`. All that can be refused for its name
    or shape is refused before the numbers are read.
    """
    index = read_vmoe_index(prefix)
    names = parameter_names(index.arrays)
    shapes = {name: index.arrays[theirs].shape for name, theirs in names.items()}
    try:
        network = describe(shapes)
        differences = compare(network, shapes)
        _check(network, differences, allow_missing)
    except CheckpointError as err:
        raise CheckpointError(f'{index.prefix}.index: {err}') from None
    used = {n: t for n, t in names.items() if n not in differences.unused}
    _check_types(index, used)
    others = [name for name in index.arrays if name not in names.values()]
    differences = replace(differences, unused=(*differences.unused, *others))
    size = image_size_of(image_size, network)
    config = network.model(size, router_of(index.prefix, network, router), pos_embed)
    with torch.device('meta'):  # Refuses what makes no sense.
        MODELS.build(config)
    arrays = read_vmoe_arrays(index, used.values())
    # A float32 array stays what it is.
    state = ride_mm_state(
        {n: arrays.pop(t).astype('f4', copy=False) for n, t in used.items()}
    )
    found = not_finite(state)
    if found:
        raise CheckpointError(f'{index.prefix} is broken:{first_of(found)}')
    if POSITIONS in used:
        grid = tuple(n // p for n, p in zip(size, network.patch_size, strict=True))
        state[OUR_POSITIONS] = resize_positions(
            state[OUR_POSITIONS], grid, int(network.pool == 'token')
        )
    return ConvertedVMoE(config, state, network, differences)


def image_size_of(
    given: int | Sequence[int] | None, network: VMoENetwork
) -> tuple[int, int]:
    """Height and width of the images: as given, or those of the training.

    Raises:
        ValueError: If they are no multiples of the patches.
    """
    if given is None:
        return network.image_size or DEFAULT_SIZE
    size = (given, given) if isinstance(given, int) else tuple(given)
    height, width = network.patch_size
    whole = len(size) == 2 and all(type(n) is int and n > 0 for n in size)
    if not whole or size[0] % height or size[1] % width:
        raise ValueError(
            f'image_size: expected multiples of the patches of {height}x{width}, got '
            f'{"x".join(map(str, size))}'
        )
    return size


def router_of(prefix: Path, network: VMoENetwork, given: Mapping | None) -> dict:
    """Settings of the routers: as given, else those of the released file of a name."""
    settings = {}
    if network.moe_blocks and prefix.name in RELEASED:
        training, testing = RELEASED[prefix.name]
        settings = dict(capacity_factor=training, eval_capacity_factor=testing)
    return {**settings, **(given or {})}


def _check(network: VMoENetwork, found: Differences, allow_missing: bool) -> None:
    """Refuse parameters that are not those of the network.

    Raises:
        CheckpointError: With the first differences.
    """
    lines = list(found.shapes)
    if not allow_missing:
        lines += [f'{name}: expected it, got no such name' for name in found.missing]
    if lines:
        lines += [f'{name}: expected no such name, got it' for name in found.unused]
        raise CheckpointError(
            f'expected the parameters of a {network}, got others:{first_of(lines)}'
        )


def _check_types(index: VMoEIndex, names: Mapping[str, str]) -> None:
    for name, theirs in names.items():
        dtype = index.arrays[theirs].dtype
        if 'float' not in dtype:
            raise CheckpointError(
                f'{index.prefix}.index: {name}: expected floating-point numbers, got '
                f'{dtype}'
            )
