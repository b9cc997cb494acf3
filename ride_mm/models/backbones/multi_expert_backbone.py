"""Several experts for any backbone of MMPretrain."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter

import torch
from mmengine.model import ModuleList
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .expert_backbone import ExpertBackbone
from .plain_weights import leading_part, spread_plain_weights
from .staging import Staging, staging_of

# Settings of a plain backbone that belong to the one around it.
OURS = ('frozen_stages', 'norm_eval')
INITS = ('fresh', 'slice')


@MODELS.register_module()
class MultiExpertBackbone(ExpertBackbone):
    """Any backbone whose stages are known, with its late stages once per expert.

    RIDE (Wang et al., ICLR 2021, section 3) for ConvNeXt, Swin, RegNet, EfficientNet,
    MobileNet, ViT and others; ``ride_mm.models.backbones.staging`` says which, and how
    another one is made known. The layers are those of MMPretrain. One expert of full
    width is the plain backbone, whose state dict loads.

    What the plain backbone pools itself, such as the class token of a ViT, comes
    as a vector (:attr:`pools` is true); ``RIDEClassifier`` then takes no neck.

    Args:
        base: Config of the plain backbone.
        num_experts: Number of experts, E; ``RIDEClassifier`` fills in its own.
        shared_stages: Number of stages that all experts share, beside the stem. A block
            of a ViT is a stage.
        expert_width: Width of the experts' stages relative to the plain backbone's; for
            those backbones that can be narrower.
        narrow_init: How narrower stages start when weights of the plain network are
            loaded: ``'fresh'`` as initialised, or ``'slice'`` with the first channels
            of the plain ones.
        frozen_stages: Stages that do not learn: -1 none, 0 the stem, i also stages 1
            to i, of all experts.
        norm_eval: Keep BatchNorm's statistics fixed during training.
        init_cfg: MMEngine's initialization, such as ``dict(type='Pretrained',
            checkpoint=..., prefix='backbone.')`` with weights of the plain network; by
            default the plain backbone's.

    Raises:
        ValueError: If the base is not known or cannot be divided so.
    """

    def __init__(
        self,
        base: dict,
        num_experts: int = 3,
        shared_stages: int = 2,
        expert_width: float = 1.0,
        narrow_init: str = 'fresh',
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        base, init_cfg = _own_settings(base, init_cfg)
        super().__init__(num_experts, (), frozen_stages, norm_eval, init_cfg)
        plain = MODELS.build(base)
        self.staging = staging_of(plain)
        self.num_stages = len(self.staging.stages)
        fewest = self.staging.min_shared
        if not (
            type(shared_stages) is int and fewest <= shared_stages < self.num_stages
        ):
            raise ValueError(
                f'shared_stages: expected a whole number from {fewest} to '
                f'{self.num_stages - 1}, for {type(plain).__name__} has '
                f'{self.num_stages} stages, got {shared_stages!r}'
            )
        if narrow_init not in INITS:
            raise ValueError(
                f'narrow_init: expected one of {INITS}, got {narrow_init!r}'
            )
        if narrow_init == 'slice' and expert_width != 1 and not self.staging.slices:
            raise ValueError(
                "narrow_init: expected 'fresh' for "
                f'{type(plain).__name__}, whose first channels make no smaller '
                "network, got 'slice'"
            )
        self.shared_stages = shared_stages
        self.expert_width = expert_width
        self.narrow_init = narrow_init

        def build() -> nn.Module:
            if expert_width == 1:
                net = MODELS.build(base)
            else:
                net = self.staging.narrowed(base, plain, shared_stages, expert_width)
            return unfrozen(net, self.staging.unused)

        with _explained(self.staging, base, expert_width):
            self.trunk = (
                build() if expert_width != 1 else unfrozen(plain, self.staging.unused)
            )
            self.out_channels, self.pools = _output(self.trunk, self.staging, base)
        own = self.staging.expert_names(shared_stages)
        self.experts = ModuleList(keep(build(), own) for _ in range(num_experts))
        keep(self.trunk, self.staging.trunk_names(shared_stages))
        self.freeze_stages()

    def forward_trunk(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to what the experts share.

        Returns:
            A map (N, D', H', W'), of a ViT its tokens (N, L, D').
        """
        x = self.staging.enter(self.trunk, x)
        for i in range(self.shared_stages):
            x = self.staging.run(self.trunk, i, x)
        return x

    def forward_expert(self, trunk: Tensor, e: int) -> Tensor:
        """Map what the experts share to expert ``e``'s map, or its vector (N, D)."""
        expert, x = self.experts[e], trunk
        for i in range(self.shared_stages, self.num_stages):
            x = self.staging.run(expert, i, x)
        return self.staging.leave(expert, x)

    def stages(self) -> list[list[nn.Module | nn.Parameter]]:
        """The stem and each stage; whatever else experts have belongs to the last."""
        parts = [[attrgetter(name)(self.trunk) for name in self.staging.stem]]
        staged = {name for names in self.staging.stages for name in names}
        own = self.staging.expert_names(self.shared_stages)
        for i, names in enumerate(self.staging.stages):
            if i + 1 == self.num_stages:
                names = (*names, *(name for name in own if name not in staged))
            homes = [self.trunk] if i < self.shared_stages else self.experts
            parts.append([attrgetter(name)(home) for home in homes for name in names])
        return parts

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter and number of depths, as the plain backbone counts.

        For learning rates that decay with depth.

        Raises:
            TypeError: If the plain backbone does not count it.
        """
        if not hasattr(self.trunk, 'get_layer_depth'):
            raise TypeError(
                'layer_decay_rate: expected a backbone that knows the depth of its '
                f'layers, got {type(self.trunk).__name__}'
            )
        home, _, rest = param_name.removeprefix(prefix).partition('.')
        if home == 'experts':
            rest = rest.partition('.')[2]
        # For what follows the backbone, which the plain one knows by the prefix.
        name = f'{prefix}{rest}' if param_name.startswith(prefix) else param_name
        return self.trunk.get_layer_depth(name, prefix)

    def spread_plain_weights(
        self, state_dict: dict[str, Tensor], prefix: str = ''
    ) -> str | None:
        """Rename the tensors of a plain network to those of trunk and experts."""
        names = dict.fromkeys(
            (
                *self.staging.trunk_names(self.shared_stages),
                *self.staging.expert_names(self.shared_stages),
            )
        )
        return spread_plain_weights(
            state_dict,
            prefix,
            self.state_dict(),
            self.num_experts,
            self.staging.weight_parts(tuple(names)),
            trunk='trunk.',
            cut=self._cut if self.narrow_init == 'slice' else None,
        )

    def _cut(self, name: str, plain: Tensor, own: Tensor) -> Tensor | None:
        return leading_part(plain, own, self.staging.blocks(self.trunk, name))


def unfrozen(net: nn.Module, unused: tuple[str, ...]) -> nn.Module:
    """Let all of a plain backbone learn that is used; some freeze their stem."""
    net.frozen_stages = -1
    for name, parameter in net.named_parameters():
        parameter.requires_grad = not name.endswith(unused)
    return net


def keep(net: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """Take out of a network all modules, parameters and buffers but those named."""

    def visit(module: nn.Module, path: str) -> None:
        for name, child in list(module.named_children()):
            full = f'{path}{name}'
            if full in names:
                continue
            if any(kept.startswith(f'{full}.') for kept in names):
                visit(child, f'{full}.')
            else:
                setattr(module, name, nn.Identity())
        for tensors in (module._parameters, module._buffers):
            for name in tensors:
                if f'{path}{name}' not in names:
                    tensors[name] = None

    visit(net, '')
    return net


def _own_settings(base: dict, init_cfg: dict | list | None) -> tuple[dict, dict | None]:
    """The plain backbone's config without what belongs to the one around it."""
    if not isinstance(base, dict) or 'type' not in base:
        raise ValueError(
            f'base: expected the config of a backbone with its type, got {base!r}'
        )
    base = dict(base)
    for name in OURS:
        if name in base:
            raise ValueError(
                f'base.{name}: expected it beside base, where it is of trunk and '
                f'experts, got {base[name]!r} inside'
            )
    given = base.get('init_cfg')
    if init_cfg is None and isinstance(given, dict) and given['type'] == 'Pretrained':
        init_cfg = base.pop('init_cfg')
    return base, init_cfg


@contextmanager
def _explained(staging: Staging, base: dict, width: float) -> Iterator[None]:
    """Say that it is the width with which a backbone cannot be built, if it is."""
    number = isinstance(width, (int, float)) and not isinstance(width, bool)
    if not (number and 0 < width <= 1):
        raise ValueError(f'expert_width: expected a number in (0, 1], got {width!r}')
    try:
        yield
    except (AssertionError, RuntimeError, ValueError, ZeroDivisionError) as err:
        if width == 1 or not staging.narrows:
            raise
        _output(MODELS.build(base), staging, base)  # Else it is not the width.
        raise ValueError(
            f'expert_width: expected a width with which {base["type"]} can be built, '
            f'got {width}: {err}'
        ) from err


@torch.no_grad()
def _output(net: nn.Module, staging: Staging, base: dict) -> tuple[int, bool]:
    """Channels of the output, and whether it is a vector, found without computing."""
    net = copy.deepcopy(net).to('meta')
    net.eval()  # Which gives None for many of them.
    size = base.get('img_size', 224)
    height, width = (size, size) if isinstance(size, int) else size
    x = staging.enter(net, torch.empty(1, 3, height, width, device='meta'))
    for i in range(len(staging.stages)):
        x = staging.run(net, i, x)
    x = staging.leave(net, x)
    return x.shape[1], x.ndim == 2
