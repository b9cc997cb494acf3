"""What the shapes of the authors' weights say about their network."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor

from ..engine.checkpoint_io import CheckpointError
from ..models.backbones import RIDEResNet, RIDEResNetCIFAR

PREFIX = 'backbone.'
CIFAR_STEM = (16, 3, 3, 3)
LARGE_STEM = (64, 3, 7, 7)
# Channels in the last stage of the plain network, before a bottleneck's expansion.
CIFAR_CHANNELS = 64
LARGE_CHANNELS = 512


@dataclass(frozen=True)
class OfficialNetwork:
    """A network of https://github.com/frank-xwang/RIDE-LongTailRecognition.

    Attributes:
        for_cifar: Whether it is the network for 32 x 32 images.
        depth: Its layers, such as 32 or 50.
        expert_width: Width of the experts' stages relative to the plain network's.
        num_experts: Number of experts, E.
        num_classes: Number of classes, C.
        classifier: ``'cosine'`` or ``'linear'``.
        groups: Groups of a ResNeXt, 1 for others.
        width_per_group: Channels per group in the first stage of a ResNeXt.
        top_z: How many of the largest logits the routers look at; None without routers.
        hidden_channels: Width of the routers' hidden layer.
        shared_output: Whether the routers share their last layer.
        plain_names: Whether the stages of a single expert are named as a plain
            network's.
    """

    for_cifar: bool
    depth: int
    expert_width: float
    num_experts: int
    num_classes: int
    classifier: Literal['cosine', 'linear']
    groups: int = 1
    width_per_group: int = 4
    top_z: int | None = None
    hidden_channels: int = 16
    shared_output: bool = True
    plain_names: bool = False

    @property
    def routed(self) -> bool:
        """Whether there are routers."""
        return self.top_z is not None

    @property
    def name(self) -> str:
        """Such as ``'ResNet-32 for CIFAR'`` or ``'ResNeXt-50 (32x4d)'``."""
        if self.groups > 1:
            return f'ResNeXt-{self.depth} ({self.groups}x{self.width_per_group}d)'
        return f'ResNet-{self.depth}{" for CIFAR" * self.for_cifar}'

    def model(self) -> dict:
        """The config of the :class:`RIDEClassifier` that takes these weights."""
        backbone = dict(depth=self.depth, expert_width=self.expert_width)
        if self.for_cifar:
            backbone = dict(type='RIDEResNetCIFAR', **backbone)
        else:
            backbone = dict(type='RIDEResNet', **backbone)
        if self.groups > 1:
            backbone.update(groups=self.groups, width_per_group=self.width_per_group)
        head = dict(
            type='RouterHead' if self.routed else 'MultiExpertHead',
            num_classes=self.num_classes,
            classifier=self.classifier,
        )
        if self.routed:
            head.update(
                top_z=self.top_z,
                hidden_channels=self.hidden_channels,
                shared=self.shared_output,
            )
        return dict(
            type='RIDEClassifier',
            num_experts=self.num_experts,
            backbone=backbone,
            neck=dict(type='GlobalAveragePooling'),
            head=head,
        )


def without_wrappers(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names in the authors' backbone, without what is before these.

    Raises:
        CheckpointError: If it is no state dict of the authors' networks.
    """
    found = {}
    for key, tensor in state_dict.items():
        name = re.sub(r'^(module\.)+', '', key)
        if re.match(r'backbone\.experts\.|head\.classifiers\.', name):
            raise CheckpointError(
                f"expected the authors' weights, got {key!r} of a ride_mm checkpoint, "
                'which needs no conversion: load it as it is'
            )
        if not name.startswith(PREFIX):
            raise CheckpointError(
                "expected the authors' weights, all of whose names begin with "
                f'{PREFIX!r} (or module.{PREFIX}), got {key!r}'
            )
        # On several GPUs also module.backbone.module.NAME.
        found[re.sub(r'^backbone\.(module\.)*', '', name)] = tensor
    return found


def describe(weights: Mapping[str, Tensor]) -> OfficialNetwork:
    """Find out which network the weights are of.

    Names and shapes that this does not need are not looked at; comparing all of them
    with the network found is what tells whether the weights are complete.

    Args:
        weights: Tensors by name, without ``backbone.``.

    Raises:
        CheckpointError: If they are of none that there is here.
    """
    stem = _shape(weights, 'conv1.weight')
    if stem not in (CIFAR_STEM, LARGE_STEM):
        raise CheckpointError(
            f'conv1.weight: expected shape {CIFAR_STEM} (networks for CIFAR) or '
            f'{LARGE_STEM} (larger ones), got {stem}'
        )
    for_cifar = stem == CIFAR_STEM
    stages, last = (2, 3) if for_cifar else (3, 4), 3 if for_cifar else 4
    if f'layer{last - 1}.0.conv1.weight' in weights and any(
        name.startswith(f'layer{last}s.') for name in weights
    ):
        raise CheckpointError(
            f"expected a stage {last - 1} of each expert's own, layer{last - 1}s, got "
            f'layer{last - 1} shared by all (share_layer{last - 1}), which is not '
            'supported'
        )
    plain = not any(re.match(rf'(layer{last}|linear)s\.', name) for name in weights)
    blocks = [
        _count(weights, rf'layer{stage}\.(\d+)\.')
        if plain or stage < stages[0]
        else _count(weights, rf'layer{stage}s\.0\.(\d+)\.')
        for stage in range(1, last + 1)
    ]
    bottleneck = 'layer1.0.conv3.weight' in weights
    experts = 1 if plain else _count(weights, rf'layer{last}s\.(\d+)\.')
    own = f'layer{last}.' if plain else f'layer{last}s.0.'
    channels = _shape(weights, f'{own}0.conv{3 if bottleneck else 1}.weight')[0]
    full = CIFAR_CHANNELS if for_cifar else LARGE_CHANNELS * (4 if bottleneck else 1)
    linear = 'linear' if plain else 'linears.0'
    return OfficialNetwork(
        for_cifar=for_cifar,
        depth=_cifar_depth(blocks) if for_cifar else _large_depth(blocks, bottleneck),
        expert_width=channels / full,
        num_experts=experts,
        plain_names=plain,
        **_classifier(weights, linear),
        **(_groups(weights) if bottleneck else {}),
        **_router(weights),
    )


def _cifar_depth(blocks: list[int]) -> int:
    depth = 6 * blocks[0] + 2
    if len(set(blocks)) > 1:
        raise CheckpointError(
            f'blocks per stage: expected as many in each of 3 stages, got {blocks}'
        )
    if depth not in RIDEResNetCIFAR.depths:
        raise CheckpointError(
            f'depth for CIFAR: expected one of {RIDEResNetCIFAR.depths}, got {depth} '
            f'({blocks[0]} blocks per stage)'
        )
    return depth


def _large_depth(blocks: list[int], bottleneck: bool) -> int:
    kind = Bottleneck if bottleneck else BasicBlock
    known = {
        stage_blocks: depth
        for depth, (block, stage_blocks) in RIDEResNet.arch_settings.items()
        if block is kind
    }
    if tuple(blocks) not in known:
        expected = ', '.join(f'{list(b)} (depth {d})' for b, d in known.items())
        raise CheckpointError(
            f'blocks per stage of {kind.__name__}: expected {expected}, got {blocks}'
        )
    return known[tuple(blocks)]


def _groups(weights: Mapping[str, Tensor]) -> dict[str, int]:
    channels, width, *_ = _shape(weights, 'layer1.0.conv2.weight')
    if channels == width:
        return {}
    return dict(groups=channels // width, width_per_group=width)


def _classifier(weights: Mapping[str, Tensor], linear: str) -> dict:
    shape = _shape(weights, f'{linear}.weight')
    if len(shape) != 2:
        raise CheckpointError(f'{linear}.weight: expected 2 axes, got shape {shape}')
    if f'{linear}.bias' in weights:
        return dict(classifier='linear', num_classes=shape[0])
    return dict(classifier='cosine', num_classes=shape[1])


def _router(weights: Mapping[str, Tensor]) -> dict:
    if not any(name.startswith('expert_help_pred_') for name in weights):
        return {}
    hidden = _shape(weights, 'expert_help_pred_hidden_fcs.0.weight')[0]
    shared = 'expert_help_pred_fcs.0.weight' not in weights
    name = f'expert_help_pred_{"fc" if shared else "fcs.0"}.weight'
    inputs = _shape(weights, name)[-1]
    if inputs <= hidden:
        raise CheckpointError(
            f'{name}: expected more than {hidden} inputs, the hidden layer and the '
            f'largest logits, got {inputs}'
        )
    return dict(top_z=inputs - hidden, hidden_channels=hidden, shared_output=shared)


def _shape(weights: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in weights:
        raise CheckpointError(
            f"{name}: expected a tensor of the authors' networks, got no such tensor"
        )
    return tuple(weights[name].shape)


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """Number of different indices that a group in the pattern finds."""
    return len({m[1] for name in weights if (m := re.match(pattern, name))})
