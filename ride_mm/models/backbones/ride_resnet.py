"""ResNet and ResNeXt for large images with several experts."""

from mmcv.cnn import build_norm_layer
from mmengine.model import ModuleList, Sequential
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck, ResLayer
from mmpretrain.models.backbones.resnext import Bottleneck as ResNeXtBottleneck
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .expert_backbone import ExpertBackbone

NORMAL_FAN_OUT = dict(
    type='Kaiming', layer='Conv2d', mode='fan_out', nonlinearity='relu'
)


@MODELS.register_module()
class RIDEResNet(ExpertBackbone):
    """ResNet-10/18/34/50/101/152 or ResNeXt whose stages 3 and 4 exist once per expert.

    Wang et al., RIDE, ICLR 2021, appendix A
    (https://github.com/frank-xwang/RIDE-LongTailRecognition), made of MMPretrain's
    blocks. Stem, stages 1 and 2 are shared. One expert of full width is the plain
    network, and the weights of MMPretrain's ``ResNet`` and ``ResNeXt`` load.

    Args:
        depth: 10, 18, 34, 50, 101 or 152.
        num_experts: Number of experts, E.
        expert_width: Width of the experts' stages relative to the plain network's; the
            paper's reduced experts have 0.75.
        groups: Groups of the 3x3 convolutions; more than 1 makes it a ResNeXt.
        width_per_group: Channels per group in the first stage of a ResNeXt.
        in_channels: Channels of the images.
        frozen_stages: Stages that do not learn: -1 none, 0 the stem, 1 and 2 also those
            of the trunk, 3 and 4 also those of all experts.
        norm_cfg: MMCV's normalization layer.
        norm_eval: Keep BatchNorm's statistics fixed during training.
        with_cp: Save memory by gradient checkpointing.
        init_cfg: MMEngine's initialization; by default the authors' (normal, fan out;
            the last BatchNorm of a block starts at 1, unlike MMPretrain's).
    """

    arch_settings = {
        10: (BasicBlock, (1, 1, 1, 1)),
        18: (BasicBlock, (2, 2, 2, 2)),
        34: (BasicBlock, (3, 4, 6, 3)),
        50: (Bottleneck, (3, 4, 6, 3)),
        101: (Bottleneck, (3, 4, 23, 3)),
        152: (Bottleneck, (3, 8, 36, 3)),
    }

    def __init__(
        self,
        depth: int = 50,
        num_experts: int = 3,
        expert_width: float = 0.75,
        groups: int = 1,
        width_per_group: int = 4,
        in_channels: int = 3,
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(
            num_experts,
            ('layer3', 'layer4'),
            frozen_stages,
            norm_eval,
            init_cfg or NORMAL_FAN_OUT,
        )
        if depth not in self.arch_settings:
            raise ValueError(
                f'depth: expected one of {tuple(self.arch_settings)}, got {depth}'
            )
        if not expert_width >= 1 / 256:
            raise ValueError(
                'expert_width: expected at least 1/256, one channel, got '
                f'{expert_width}'
            )
        block, self.stage_blocks = self.arch_settings[depth]
        if groups > 1 and block is BasicBlock:
            raise ValueError(f'groups: expected 1 for depth {depth}, got {groups}')
        self.depth = depth
        self.norm_cfg = norm_cfg or dict(type='BN')
        self.block = ResNeXtBottleneck if groups > 1 else block
        self.block_args = dict(with_cp=with_cp)
        if groups > 1:
            self.block_args.update(
                groups=groups, width_per_group=width_per_group, base_channels=64
            )
        self.expansion = 1 if block is BasicBlock else 4
        widths = [64, 128, int(256 * expert_width), int(512 * expert_width)]
        if groups > 1 and any(groups * width_per_group * w % 64 for w in widths):
            raise ValueError(
                'expert_width: expected whole groups in every stage, got '
                f'{expert_width} with groups={groups} and '
                f'width_per_group={width_per_group}'
            )
        channels = [width * self.expansion for width in widths]
        self.out_channels = channels[-1]

        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = build_norm_layer(self.norm_cfg, 64)[1]
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._stage(0, 64, channels[0])
        self.layer2 = self._stage(1, channels[0], channels[1])
        self.experts = ModuleList(Sequential() for _ in range(num_experts))
        for expert in self.experts:
            expert.add_module('layer3', self._stage(2, channels[1], channels[2]))
            expert.add_module('layer4', self._stage(3, channels[2], channels[3]))
        self.freeze_stages()

    def _stage(self, index: int, in_channels: int, out_channels: int) -> ResLayer:
        return ResLayer(
            block=self.block,
            num_blocks=self.stage_blocks[index],
            in_channels=in_channels,
            out_channels=out_channels,
            expansion=self.expansion,
            stride=1 if index == 0 else 2,
            norm_cfg=self.norm_cfg,
            **self.block_args,
        )

    def forward_trunk(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to the output of stage 2, (N, D', H / 8, W / 8)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer2(self.layer1(x))

    def forward_expert(self, trunk: Tensor, e: int) -> Tensor:
        """Map the output of stage 2 to expert ``e``'s (N, D, H / 32, W / 32)."""
        return self.experts[e](trunk)

    def stages(self) -> list[list[nn.Module]]:
        """Stem, stages 1 and 2, and stages 3 and 4 of all experts."""
        return [
            [self.conv1, self.bn1],
            [self.layer1],
            [self.layer2],
            [expert.layer3 for expert in self.experts],
            [expert.layer4 for expert in self.experts],
        ]
