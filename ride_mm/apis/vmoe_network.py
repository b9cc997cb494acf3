"""Recognise a V-MoE by the names and shapes of the original's parameters."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from mmpretrain.registry import MODELS
from torch import nn

from ..engine.checkpoint_io import CheckpointError
from .vmoe_names import original_shapes, unknown_names

Shapes = Mapping[str, tuple[int, ...]]
BLOCK = 'Encoder/encoderblock_'
POSITIONS = 'Encoder/posembed_input/pos_embedding'
# A checkpoint of a whole training has the parameters under this name.
PARAMETERS = 'params/'
# Of images, where nothing tells it.
DEFAULT_SIZE = (224, 224)


@dataclass(frozen=True)
class VMoENetwork:
    """A network of V-MoE's authors.

    Attributes:
        embed_dims: Channels of a token, D.
        num_layers: Blocks.
        num_heads: Heads of attention.
        feedforward_channels: Hidden channels of an MLP or expert.
        patch_size: Height and width of a patch.
        grid: Patches along the height and the width of an image, None if no learned
            position embeddings tell.
        moe_blocks: Numbers of the blocks with experts, from 0.
        num_experts: E; 0 without such blocks.
        pool: ``'token'``, ``'gap'`` or ``'map'``.
        qk_norm: Whether queries and keys are normalised.
        hidden_dim: Channels before the classifier, None without that layer.
        num_classes: C; 0 without a classifier.
    """

    embed_dims: int
    num_layers: int
    num_heads: int
    feedforward_channels: int
    patch_size: tuple[int, int]
    grid: tuple[int, int] | None
    moe_blocks: tuple[int, ...]
    num_experts: int
    pool: str
    qk_norm: bool
    hidden_dim: int | None
    num_classes: int

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the images that it was trained on, if known."""
        if self.grid is None:
            return None
        return tuple(n * p for n, p in zip(self.grid, self.patch_size, strict=True))

    def model(
        self,
        image_size: tuple[int, int] | None = None,
        router: Mapping | None = None,
        pos_embed: str = 'none',
    ) -> dict:
        """Config of our classifier with this network.

        Args:
            image_size: Height and width of the images; by default its own, or 224 if
                that is not known.
            router: Settings of the router that weights do not tell, such as
                ``num_selected``.
            pos_embed: What to do for positions where none were learned: ``'none'`` or
                ``'sincos2d'``.
        """
        backbone = dict(
            type='VMoE',
            arch=dict(
                embed_dims=self.embed_dims,
                num_layers=self.num_layers,
                num_heads=self.num_heads,
                feedforward_channels=self.feedforward_channels,
            ),
            img_size=_one_or_two(image_size or self.image_size or DEFAULT_SIZE),
            patch_size=_one_or_two(self.patch_size),
            pool=self.pool,
            pos_embed=pos_embed if self.grid is None else 'learned',
            qk_norm=self.qk_norm,
        )
        if self.moe_blocks:
            router = dict(router or {})
            router.setdefault('num_selected', min(2, self.num_experts))
            backbone['moe'] = dict(
                blocks=list(self.moe_blocks),
                num_experts=self.num_experts,
                router=dict(type='NoisyTopKRouter', **router),
            )
        config = dict(type='VMoEClassifier', backbone=backbone)
        if self.num_classes:
            config['head'] = dict(
                type='VisionTransformerClsHead',
                num_classes=self.num_classes,
                in_channels=self.embed_dims,
                hidden_dim=self.hidden_dim,
                loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
            )
        return config

    def __str__(self) -> str:
        """Sizes in a line."""
        patch = self.patch_size
        size = str(patch[0]) if patch[0] == patch[1] else f'{patch[0]}x{patch[1]}'
        return (
            f'V-MoE of {self.num_layers} blocks, {self.embed_dims} channels, '
            f'{self.num_heads} heads, {self.feedforward_channels} hidden channels, '
            f'patches of {size}'
        )


def _one_or_two(size: tuple[int, int]) -> int | tuple[int, int]:
    return size[0] if size[0] == size[1] else size


def parameter_names(names: Mapping) -> dict[str, str]:
    """Name of each network parameter in a file, by its name in the network.

    Those of a whole training stand under ``params/``; what else is there, such as the
    optimizer's state, is left out.
    """
    if not any(name.startswith(PARAMETERS) for name in names):
        return {name: name for name in names}
    return {
        name.removeprefix(PARAMETERS): name
        for name in names
        if name.startswith(PARAMETERS)
    }


def describe(shapes: Shapes) -> VMoENetwork:
    """Find the network that parameters are of.

    Args:
        shapes: Of the original's parameters by name, such as ``'embedding/kernel'``.

    Raises:
        CheckpointError: If they are not those of a V-MoE, with expected and got.
    """
    patch = _shape(shapes, 'embedding/kernel', 4)
    if patch[2] != 3:
        raise CheckpointError(
            'embedding/kernel: expected patches of 3 channels, shape (P, P, 3, D), got '
            f'{patch}'
        )
    numbers = {int(m[1]) for n in shapes if (m := re.match(rf'{BLOCK}(\d+)/', n))}
    if not numbers:
        raise CheckpointError(f'expected blocks {BLOCK}0/..., got none')
    moe = sorted(i for i in numbers if any(_of(shapes, i, 'Moe/')))
    query = _shape(shapes, f'{BLOCK}{min(numbers)}/SelfAttention/query/kernel', 3)
    pool = 'gap'
    if 'cls' in shapes:
        pool = 'token'
    elif any(name.startswith('MapHead/') for name in shapes):
        pool = 'map'
    return VMoENetwork(
        embed_dims=patch[3],
        num_layers=max(numbers) + 1,
        num_heads=query[1],
        feedforward_channels=_feedforward_channels(shapes, min(numbers)),
        patch_size=patch[:2],
        grid=_grid(shapes, pool == 'token'),
        moe_blocks=tuple(moe),
        num_experts=_num_experts(shapes, moe[0]) if moe else 0,
        pool=pool,
        qk_norm=any(name.endswith('/query_ln/scale') for name in shapes),
        hidden_dim=(
            _shape(shapes, 'pre_logits/kernel', 2)[1]
            if 'pre_logits/kernel' in shapes
            else None
        ),
        num_classes=(
            _shape(shapes, 'head/kernel', 2)[1] if 'head/kernel' in shapes else 0
        ),
    )


def _of(shapes: Shapes, block: int, part: str) -> list[str]:
    return [name for name in shapes if name.startswith(f'{BLOCK}{block}/{part}')]


def _num_experts(shapes: Shapes, block: int) -> int:
    name = f'{BLOCK}{block}/Moe/Router/dense/kernel'
    shape = shapes.get(name, ())
    if len(shape) == 3:
        raise CheckpointError(
            f'{name}: expected shape (D, E), got {shape}: an ensemble (E3) of '
            f'{shape[1]} members, which is another network'
        )
    return _shape(shapes, name, 2)[1]


def _feedforward_channels(shapes: Shapes, block: int) -> int:
    if any(_of(shapes, block, 'Moe/')):
        return _shape(shapes, f'{BLOCK}{block}/Moe/Mlp/Dense_0/kernel', 3)[2]
    return _shape(shapes, f'{BLOCK}{block}/Mlp/Dense_0/kernel', 2)[1]


def _grid(shapes: Shapes, token: bool) -> tuple[int, int] | None:
    if POSITIONS not in shapes:
        return None
    shape = _shape(shapes, POSITIONS, 3)
    patches = shape[1] - token
    side = math.isqrt(max(patches, 0))
    if side < 1 or side * side != patches:
        raise CheckpointError(
            f'{POSITIONS}: expected those of a square of patches'
            f'{" and a token of the class" if token else ""}, got {shape}'
        )
    return side, side


def _shape(shapes: Shapes, name: str, axes: int) -> tuple[int, ...]:
    """Shape of a parameter that no network is without."""
    shape = shapes.get(name)
    if shape is None:
        raise CheckpointError(f'{name}: expected it among the parameters, got none')
    if len(shape) != axes or 0 in shape:
        raise CheckpointError(f'{name}: expected {axes} axes, got shape {tuple(shape)}')
    return tuple(shape)


@dataclass(frozen=True)
class Differences:
    """What is other than in the network that was recognised.

    Attributes:
        missing: Names of parameters that it has and the file has not.
        unused: Names in the file that it has not.
        shapes: A line for each parameter of another shape.
    """

    missing: tuple[str, ...]
    unused: tuple[str, ...]
    shapes: tuple[str, ...]


def compare(network: VMoENetwork, shapes: Shapes) -> Differences:
    """Compare parameters with those that a network has.

    Raises:
        CheckpointError: If there is no such network.
    """
    try:
        with torch.device('meta'):  # The shapes alone.
            expected = original_shapes(_built(network))
    except ValueError as err:
        raise CheckpointError(f'{network}: {err}') from None
    unknown = set(unknown_names(shapes))
    return Differences(
        tuple(name for name in expected if name not in shapes),
        tuple(name for name in shapes if name not in expected or name in unknown),
        tuple(
            f'{name}: expected shape {expected[name]}, got {tuple(shape)}'
            for name, shape in shapes.items()
            if name in expected and tuple(shape) != expected[name]
        ),
    )


def _built(network: VMoENetwork) -> nn.Module:
    return MODELS.build(network.model())
