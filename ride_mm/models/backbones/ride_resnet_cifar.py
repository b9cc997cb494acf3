"""ResNet for 32x32 images with several experts."""

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule, ModuleList, Sequential
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .expert_backbone import ExpertBackbone


class CIFARBasicBlock(BaseModule):
    """Two 3x3 convolutions with shortcut option A (He et al., CVPR 2016, 4.2).

    Where the shape changes, the shortcut takes every second pixel and pads zero
    channels, half of them on each side.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, >= in_channels.
        stride: Of the first convolution.
        norm_cfg: MMCV's normalization layer.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, norm_cfg: dict
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = build_norm_layer(norm_cfg, out_channels)[1]
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = build_norm_layer(norm_cfg, out_channels)[1]
        self.stride = stride
        self.added = out_channels - in_channels

    def shortcut(self, x: Tensor) -> Tensor:
        """Bring the input to the shape of the output, without parameters."""
        if self.stride == 1 and self.added == 0:
            return x
        before = self.added // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, before, self.added - before))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, out, H / stride, W / stride)."""
        # In place, where no gradient needs what is overwritten.
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out.add_(self.shortcut(x)), inplace=True)


def cifar_stage(
    in_channels: int, out_channels: int, num_blocks: int, stride: int, norm_cfg: dict
) -> Sequential:
    """A row of blocks, of which the first one changes shape."""
    return Sequential(
        CIFARBasicBlock(in_channels, out_channels, stride, norm_cfg),
        *(
            CIFARBasicBlock(out_channels, out_channels, 1, norm_cfg)
            for _ in range(num_blocks - 1)
        ),
    )


@MODELS.register_module()
class RIDEResNetCIFAR(ExpertBackbone):
    """ResNet-20/32/44/56/110 for CIFAR whose stages 2 and 3 exist once per expert.

    Wang et al., RIDE, ICLR 2021, appendix A
    (https://github.com/frank-xwang/RIDE-LongTailRecognition). Stem and stage 1 (16
    channels) are shared. One expert of full width is the plain network.

    Args:
        depth: 20, 32, 44, 56 or 110.
        num_experts: Number of experts, E.
        expert_width: Width of the experts' stages relative to the plain network's 32
            and 64 channels; the paper's reduced experts have 0.75.
        in_channels: Channels of the images.
        frozen_stages: Stages that do not learn: -1 none, 0 the stem, 1 also stage 1, 2
            and 3 also those of all experts.
        norm_cfg: MMCV's normalization layer.
        norm_eval: Keep BatchNorm's statistics fixed during training.
        init_cfg: MMEngine's initialization; by default the authors' (Kaiming normal,
            fan in).
    """

    depths = (20, 32, 44, 56, 110)
    base_channels = (16, 32, 64)

    def __init__(
        self,
        depth: int = 32,
        num_experts: int = 3,
        expert_width: float = 0.75,
        in_channels: int = 3,
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        init_cfg = init_cfg or dict(
            type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='relu'
        )
        super().__init__(
            num_experts, ('layer2', 'layer3'), frozen_stages, norm_eval, init_cfg
        )
        if depth not in self.depths:
            raise ValueError(f'depth: expected one of {self.depths}, got {depth}')
        if not expert_width > 0:
            raise ValueError(f'expert_width: expected > 0, got {expert_width}')
        stem, *expert_channels = self.base_channels
        middle, out = (int(c * expert_width) for c in expert_channels)
        if middle < stem:
            raise ValueError(
                f'expert_width: expected at least {stem / expert_channels[0]} (the '
                f'shortcut cannot drop channels), got {expert_width}'
            )
        norm_cfg = norm_cfg or dict(type='BN')
        blocks = (depth - 2) // 6
        self.depth = depth
        self.out_channels = out

        self.conv1 = nn.Conv2d(in_channels, stem, 3, 1, 1, bias=False)
        self.bn1 = build_norm_layer(norm_cfg, stem)[1]
        self.layer1 = cifar_stage(stem, stem, blocks, 1, norm_cfg)
        self.experts = ModuleList(Sequential() for _ in range(num_experts))
        for expert in self.experts:
            expert.add_module('layer2', cifar_stage(stem, middle, blocks, 2, norm_cfg))
            expert.add_module('layer3', cifar_stage(middle, out, blocks, 2, norm_cfg))
        self.freeze_stages()

    def forward_trunk(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to (N, 16, H, W)."""
        return self.layer1(F.relu(self.bn1(self.conv1(x)), inplace=True))

    def forward_expert(self, trunk: Tensor, e: int) -> Tensor:
        """Map (N, 16, H, W) to expert ``e``'s (N, D, H / 4, W / 4)."""
        return self.experts[e](trunk)

    def stages(self) -> list[list[nn.Module]]:
        """Stem, stage 1, and stages 2 and 3 of all experts."""
        return [
            [self.conv1, self.bn1],
            [self.layer1],
            [expert.layer2 for expert in self.experts],
            [expert.layer3 for expert in self.experts],
        ]
