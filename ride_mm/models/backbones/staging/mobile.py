"""Networks for small devices: widths stand in tables of the classes."""

from mmpretrain.models.utils import make_divisible
from torch import nn

from .base import Staging, build_with, staging_for


def rounded(channels: int, width: float) -> int:
    """Channels times a factor, as a multiple of 8."""
    return make_divisible(channels * width, 8)


@staging_for('MobileNetV2')
class MobileNetV2Staging(Staging):
    """Seven stages, of which the last one has the final convolution."""

    narrows = slices = True

    def __init__(self, net: nn.Module) -> None:
        *rows, last, final = net.layers
        super().__init__(('conv1',), [*((row,) for row in rows), (last, final)])

    def narrowed(self, base, plain, first, width) -> nn.Module:
        """Build it of another table: expansion, channels, blocks, stride."""
        rows = [
            [row[0], row[1] if i < first else rounded(row[1], width), *row[2:]]
            for i, row in enumerate(plain.arch_settings)
        ]
        return build_with(base, arch_settings=rows)


@staging_for('MobileNetV3')
class MobileNetV3Staging(Staging):
    """A stage begins where the map shrinks; the last one has the final convolution."""

    narrows = slices = True

    def __init__(self, net: nn.Module) -> None:
        stem, *blocks, final = net.layers
        strides = [row[-1] for row in net.arch_settings[net.arch]]
        rows = []
        for block, stride in zip(blocks, strides, strict=True):
            if stride == 2 or not rows:
                rows.append([])
            rows[-1].append(block)
        rows[-1].append(final)
        super().__init__((stem,), rows)

    def narrowed(self, base, plain, first, width) -> nn.Module:
        """Build it of another table: kernel, inner and outer channels, and so on."""
        shared = sum(len(stage) for stage in self.stages[:first])
        rows = [
            row
            if i < shared
            else [row[0], rounded(row[1], width), rounded(row[2], width), *row[3:]]
            for i, row in enumerate(plain.arch_settings[plain.arch])
        ]
        return build_with(base, arch_settings={plain.arch: rows})


class EfficientNetStaging(Staging):
    """Each layer between the first and the final convolution is a stage."""

    narrows = slices = True

    def __init__(self, net: nn.Module) -> None:
        names = [f'layers.{i}' for i in range(len(net.layers))]
        *rows, last, final = names[1:]
        super().__init__(names[:1], [*((row,) for row in rows), (last, final)])


@staging_for('EfficientNet')
class EfficientNetV1Staging(EfficientNetStaging):
    """Rows have the output channels in the second place."""

    def narrowed(self, base, plain, first, width) -> nn.Module:
        """Build it of another table, before MMPretrain scales that to the size."""
        arch = base.get('arch', 'b0')
        family = 'b' if arch == 'l2' else arch[0]
        layers = [
            layer
            # The stem is the table's first layer, the final convolution its last.
            if i <= first
            else [[row[0], rounded(row[1], width), *row[2:]] for row in layer]
            for i, layer in enumerate(plain.layer_settings[family])
        ]
        return build_with(base, layer_settings={family: layers})


@staging_for('EfficientNetV2')
class EfficientNetV2Staging(EfficientNetStaging):
    """Rows have input and output channels in the fifth and sixth place."""

    def narrowed(self, base, plain, first, width) -> nn.Module:
        """Build it of another table."""
        rows, last = [], None
        for i, row in enumerate(plain.arch):
            into = row[4] if last is None else last
            out = row[5] if i < first else rounded(row[5], width)
            rows.append([*row[:4], into, out, *row[6:]])
            last = out
        return build_with(base, arch_settings={base.get('arch', 's'): rows})


@staging_for('ShuffleNetV2')
def shufflenet_staging(net: nn.Module) -> Staging:
    """Three stages, of which the last one has the final convolution."""
    names = [f'layers.{i}' for i in range(len(net.layers))]
    rows = [*((name,) for name in names[:-2]), names[-2:]]
    return Staging(('conv1', 'maxpool'), rows)


@staging_for('MobileViT')
def mobilevit_staging(net: nn.Module) -> Staging:
    """Five stages and a final convolution."""
    rows = [(f'layers.{i}',) for i in range(len(net.layers))]
    return Staging(('stem',), rows, ('conv_1x1_exp',))
