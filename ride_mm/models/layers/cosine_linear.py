"""Cosine classifier."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .full_precision import full_precision


@MODELS.register_module()
class CosineLinear(BaseModule):
    """Logits are scaled cosines of feature and class weight.

    ``logits[n, c] = scale * <x_n / |x_n|, w_c / |w_c|>`` (LDAM-DRW, Cao et al., NeurIPS
    2019, https://github.com/kaidic/LDAM-DRW; RIDE's ``use_norm``). Computed in fp32,
    whatever the network's precision: at scale 30, bfloat16 logits would be off by up to
    0.06.

    Args:
        in_channels: Channels of the feature, D.
        num_classes: Number of classes, C.
        scale: The scale s of the logits.
        init_cfg: MMEngine's initialization; by default uniform(-1, 1) with columns
            normalised to length one.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        scale: float = 30.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(in_channels, num_classes))  # (D, C)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight as the authors do."""
        with torch.no_grad():
            self.weight.uniform_(-1, 1)
            self.weight.copy_(F.normalize(self.weight, dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, D) to logits (N, C) in fp32."""
        with full_precision(x):
            direction = F.normalize(x.float(), dim=1)
            return self.scale * direction @ F.normalize(self.weight.float(), dim=0)

    def extra_repr(self) -> str:
        """Sizes and scale, as ``nn.Linear`` shows them."""
        in_channels, num_classes = self.weight.shape
        return f'{in_channels}, {num_classes}, scale={self.scale}'
