"""ResNet and what MMPretrain derives from it."""

from mmpretrain.models.backbones.resnext import Bottleneck
from mmpretrain.registry import MODELS
from torch import nn

from .base import Staging, staging_for


class ResNetStaging(Staging):
    """Stages are the layers; narrower ones are built anew by ``make_res_layer``."""

    narrows = True

    def __init__(self, net: nn.Module) -> None:
        stem = ('stem',) if net.deep_stem else ('conv1', net.norm1_name, 'relu')
        if hasattr(net, 'maxpool'):  # RegNet has none.
            stem += ('maxpool',)
        super().__init__(stem, ((name,) for name in net.res_layers))
        # In grouped convolutions a leading part would mix groups.
        self.slices = type(net).__name__ in SLICING

    def narrowed(self, base, plain, first, width) -> nn.Module:
        """Build it and replace its late layers."""
        net = MODELS.build(base)
        depths, channels = net.stage_blocks, []
        for i, name in enumerate(net.res_layers):
            full = getattr(net, name)[-1].out_channels
            channels.append(full if i < first else self.channels(net, i, full, width))
        drops = _drop_paths(base, sum(depths))
        for i in range(first, len(depths)):
            layer = net.make_res_layer(
                num_blocks=depths[i],
                in_channels=channels[i - 1] if i else net.stem_channels,
                out_channels=channels[i],
                stride=net.strides[i],
                dilation=net.dilations[i],
                style=net.style,
                avg_down=net.avg_down,
                with_cp=net.with_cp,
                conv_cfg=net.conv_cfg,
                norm_cfg=net.norm_cfg,
                **self.block_arguments(
                    net, i, channels[i], drops[sum(depths[:i]) : sum(depths[: i + 1])]
                ),
            )
            setattr(net, net.res_layers[i], layer)
        net.feat_dim = channels[-1]
        return net

    def channels(self, net: nn.Module, i: int, full: int, width: float) -> int:
        """Output channels of a narrower stage."""
        return int(full // net.expansion * width) * net.expansion

    def block_arguments(
        self, net: nn.Module, i: int, channels: int, drops: list[float]
    ) -> dict:
        """What the blocks of a stage are built of, beside what all stages share."""
        return dict(block=net.block, expansion=net.expansion, drop_path_rate=drops)


class RegNetStaging(ResNetStaging):
    """RegNet's groups keep their width; narrower stages have fewer of them."""

    def channels(self, net, i, full, width) -> int:
        """Whole groups, as many as come next."""
        group = net.group_widths[i] / net.bottleneck_ratio[i]
        return int(max(1, round(full * width / group)) * group)

    def block_arguments(self, net, i, channels, drops) -> dict:
        """As RegNet builds them; it has no stochastic depth."""
        inner = int(round(channels * net.bottleneck_ratio[i]))
        return dict(
            block=Bottleneck,
            expansion=1,
            base_channels=channels,
            groups=inner // net.group_widths[i],
            width_per_group=net.group_widths[i],
        )


SLICING = ('ResNet', 'ResNetV1c', 'ResNetV1d', 'SEResNet', 'RegNet')

staging_for(
    'ResNet',
    'ResNetV1c',
    'ResNetV1d',
    'ResNeXt',
    'SEResNet',
    'SEResNeXt',
    'Res2Net',
    'ResNeSt',
)(ResNetStaging)
staging_for('RegNet')(RegNetStaging)


def _drop_paths(base: dict, blocks: int) -> list[float]:
    """Stochastic depth of each block: from none to the full rate."""
    rate = base.get('drop_path_rate', 0.0)
    return [rate * i / max(1, blocks - 1) for i in range(blocks)]
