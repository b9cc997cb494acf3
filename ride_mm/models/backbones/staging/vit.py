"""Vision transformers: each block is a stage."""

import torch
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from .base import Staging, staging_for

POOLED = ('cls_token', 'avg_featmap')


@staging_for('VisionTransformer')
class ViTStaging(Staging):
    """Between blocks it is tokens (N, L, C), with or without the class token.

    Their width is that of the residual stream, which no block can change.
    """

    min_shared = 1
    positions_of_class = True

    def __init__(self, net: nn.Module) -> None:
        if net.out_type not in POOLED:
            raise ValueError(
                f'base.out_type: expected one of {POOLED}, got {net.out_type!r}'
            )
        names = 'patch_embed', 'drop_after_pos', 'cls_token', 'pos_embed', 'pre_norm'
        stem = [name for name in names if getattr(net, name, None) is not None]
        output = [name for name in ('ln1', 'ln2') if hasattr(net, name)]
        super().__init__(
            stem, [(f'layers.{i}',) for i in range(len(net.layers))], output
        )

    def enter(self, net, images) -> Tensor:
        """Embed patches, class and position."""
        x, size = net.patch_embed(images)
        extra = net.num_extra_tokens if self.positions_of_class else 0
        if self.positions_of_class:
            x = _with_class(net, x)
        if net.pos_embed is not None:
            x = x + resize_pos_embed(
                net.pos_embed, net.patch_resolution, size, net.interpolate_mode, extra
            )
        x = net.drop_after_pos(x)
        if not self.positions_of_class:
            x = _with_class(net, x)
        return net.pre_norm(x) if 'pre_norm' in self.stem else x

    def leave(self, net, x) -> Tensor:
        """Normalise, and take the class token or the mean of the others."""
        return net._format_output(net.ln1(x) if net.final_norm else x, None)


@staging_for('DeiT3')
class DeiT3Staging(ViTStaging):
    """The class token has no position."""

    positions_of_class = False
    # MMPretrain's blocks normalise by the first norm twice.
    unused = ('.ln2.weight', '.ln2.bias')


@staging_for('BEiTViT')
class BEiTStaging(ViTStaging):
    """Relative positions may be shared by all blocks; then each expert has its own."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.shared = () if net.rel_pos_bias is None else ('rel_pos_bias',)
        self.stem += self.shared

    def expert_names(self, shared) -> tuple[str, ...]:
        """And the relative positions."""
        return (*super().expert_names(shared), *self.shared)

    def run(self, net, i, x) -> Tensor:
        """Apply a block."""
        bias = net.rel_pos_bias() if net.rel_pos_bias is not None else None
        return net.layers[i](x, bias)


def _with_class(net: nn.Module, x: Tensor) -> Tensor:
    """Put the class token, if there is one, before the others."""
    if net.cls_token is None:
        return x
    return torch.cat((net.cls_token.expand(len(x), -1, -1), x), dim=1)
