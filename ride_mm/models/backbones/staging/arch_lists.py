"""Backbones whose stages are rows of modules, most with a list of widths."""

import inspect

from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .base import Staging, apply, blocks_and_merging, scaled, staging_for


class ListedWidths(Staging):
    """The widths of all stages are a list in the argument ``arch``."""

    narrows = True
    table = 'arch_settings'
    key = 'channels'

    def narrowed(self, base, plain, first, width) -> nn.Module:
        """Build it with another list."""
        arch = base.get('arch', _default(plain, 'arch'))
        if isinstance(arch, str):
            table = getattr(type(plain), self.table)
            arch = table[arch if arch in table else arch.lower()]
        widths = scaled(arch[self.key], first, width)
        return MODELS.build(dict(base, arch={**arch, self.key: widths}))


def _default(net: nn.Module, argument: str):
    return inspect.signature(type(net).__init__).parameters[argument].default


def _rows(*names: str, count: int) -> list[tuple[str, ...]]:
    """Each stage's name in several lists of modules."""
    return [tuple(f'{name}.{i}' for name in names) for i in range(count)]


@staging_for('ConvNeXt')
class ConvNeXtStaging(ListedWidths):
    """Each stage has a layer that shrinks the map before it, the first one too."""

    slices = True

    def __init__(self, net: nn.Module) -> None:
        count = len(net.stages)
        rows = _rows('downsample_layers', 'stages', count=count)
        super().__init__((), rows, (f'norm{count - 1}',))

    def leave(self, net, x) -> Tensor:
        """Normalise the map, or its mean over the pixels if that comes first."""
        norm = getattr(net, self.output[0])
        if net.gap_before_final_norm:
            return norm(x.mean((-2, -1), keepdim=True)).flatten(1)
        return norm(x)


@staging_for('HorNet')
class HorNetStaging(ConvNeXtStaging):
    """As ConvNeXt; its widths are no list."""

    narrows = slices = False
    narrowed = Staging.narrowed


@staging_for('EdgeNeXt')
class EdgeNeXtStaging(ConvNeXtStaging):
    """As ConvNeXt, with position embedding after the first stage."""

    slices = False

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        if net.pos_embed:
            self.stages = ((*self.stages[0], 'pos_embed'), *self.stages[1:])

    def run(self, net, i, x) -> Tensor:
        """Apply a stage's layers."""
        x = apply(net, self.stages[i][:2], x)
        if i == 0 and net.pos_embed:
            n, _, height, width = x.shape
            x = x + net.pos_embed((n, height, width))
        return x

    def leave(self, net, x) -> Tensor:
        """Normalise the map, or its mean over the pixels if that comes first."""
        norm = getattr(net, self.output[0])
        if net.gap_before_final_norm:
            return norm(x.mean((-2, -1)))
        return norm(x)


@staging_for('PoolFormer', 'RIFormer')
class PoolFormerStaging(ListedWidths):
    """Stages and the layers between them alternate in one list."""

    slices = True
    key = 'embed_dims'

    def __init__(self, net: nn.Module) -> None:
        last = len(net.network) - 1
        first, *rest = range(0, last + 1, 2)
        rows = [(f'network.{first}',)]
        rows += [(f'network.{i - 1}', f'network.{i}') for i in rest]
        super().__init__(('patch_embed',), rows, (f'norm{last}',))

    def narrowed(self, base, plain, first, width) -> nn.Module:
        """Build it, if there still is a layer between any two stages."""
        net = super().narrowed(base, plain, first, width)
        if len(net.network) != len(plain.network):
            raise ValueError('expected stages of different widths, got two alike')
        return net


@staging_for('VAN')
class VANStaging(ListedWidths):
    """Stages with a norm each, over the channels of every pixel."""

    slices = True
    table = 'arch_zoo'
    key = 'embed_dims'

    def __init__(self, net: nn.Module) -> None:
        parts = 'patch_embed', 'blocks', 'norm'
        rows = [
            tuple(f'{part}{i}' for part in parts) for i in range(1, net.num_stages + 1)
        ]
        super().__init__((), rows)

    def run(self, net, i, x) -> Tensor:
        """Apply a stage's layers."""
        embed, blocks, norm = (getattr(net, name) for name in self.stages[i])
        x, _ = embed(x)
        for block in blocks:
            x = block(x)
        return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@staging_for('TinyViT')
class TinyViTStaging(ListedWidths):
    """The first stage works on maps, the others on tokens (N, L, C)."""

    def __init__(self, net: nn.Module) -> None:
        count = len(net.stages)
        norm = f'norm{count - 1}'
        super().__init__(('patch_embed',), _rows('stages', count=count), (norm,))

    def weight_parts(self, names) -> tuple[str, ...]:
        """Blocks and merging apart."""
        return blocks_and_merging(names)

    def leave(self, net, x) -> Tensor:
        """Normalise the tokens as a map, or their mean."""
        norm = getattr(net, self.output[0])
        if net.gap_before_final_norm:
            return norm(x.mean(1))
        size = net.stages[-1].resolution
        return norm(x).unflatten(1, size).permute(0, 3, 1, 2)


@staging_for('RepVGG', 'MobileOne')
class RepVGGStaging(ListedWidths):
    """Stages are named attributes; widths are factors."""

    key = 'width_factor'

    def __init__(self, net: nn.Module) -> None:
        stem = 'stem' if hasattr(net, 'stem') else 'stage0'
        output = ('ppf',) if hasattr(net, 'ppf') else ()
        super().__init__((stem,), ((name,) for name in net.stages), output)
        self.table = 'arch_zoo' if hasattr(net, 'arch_zoo') else 'arch_settings'

    def enter(self, net, images) -> Tensor:
        """Apply the stem, to images with their channels first.

        With the channels last PyTorch 2.15 crashes on some CPUs in the gradient of the
        stem's 1 x 1 convolution, whose stride is 2.
        """
        return super().enter(net, images.contiguous())


@staging_for('CSPDarkNet', 'CSPResNet', 'CSPResNeXt')
def csp_staging(net: nn.Module) -> Staging:
    """Stages are a list."""
    return Staging(('stem',), _rows('stages', count=len(net.stages)))


@staging_for('DenseNet')
def densenet_staging(net: nn.Module) -> Staging:
    """Each stage has a transition behind it."""
    rows = _rows('stages', 'transitions', count=net.num_stages)
    return Staging(('stem',), rows)
