"""Swin Transformers and DaViT: stages work on tokens and the size of their map."""

from mmpretrain.models.utils import resize_pos_embed
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .base import Staging, blocks_and_merging, staging_for


class WindowStaging(Staging):
    """Between stages it is a map (N, C, H, W), whose tokens are a view of it."""

    def __init__(self, net: nn.Module) -> None:
        rows = [(f'stages.{i}',) for i in range(len(net.stages))]
        stem = ['patch_embed']
        if hasattr(net, 'drop_after_pos'):
            stem.append('drop_after_pos')
        if getattr(net, 'use_abs_pos_embed', False):
            stem.append('absolute_pos_embed')
        super().__init__(stem, rows, (f'norm{len(rows) - 1}',))

    def enter(self, net, images) -> Tensor:
        """Embed the patches."""
        x, size = net.patch_embed(images)
        if 'absolute_pos_embed' in self.stem:
            x = x + resize_pos_embed(
                net.absolute_pos_embed,
                net.patch_resolution,
                size,
                net.interpolate_mode,
                net.num_extra_tokens,
            )
        if 'drop_after_pos' in self.stem:
            x = net.drop_after_pos(x)
        return to_map(x, size)

    def run(self, net, i, x) -> Tensor:
        """Apply a stage, with the merging of patches where it has that."""
        return to_map(*net.stages[i](to_tokens(x), x.shape[-2:]))

    def leave(self, net, x) -> Tensor:
        """Normalise the channels of each pixel."""
        return to_map(getattr(net, self.output[0])(to_tokens(x)), x.shape[-2:])


@staging_for('SwinTransformer', 'DaViT')
class SwinStaging(WindowStaging):
    """Patches are merged at the end of a stage.

    The last shared stage thus merges to the width of the experts, as in the authors'
    RIDE-Swin. Narrower stages have as many heads, which are narrower.
    """

    narrows = True
    min_shared = 1  # Which merges to the width of the experts.

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.slices = type(net).__name__ == 'SwinTransformer'

    def weight_parts(self, names) -> tuple[str, ...]:
        """Blocks and merging apart."""
        return blocks_and_merging(names)

    def narrowed(self, base, plain, first, width) -> nn.Module:
        """Let the stage before the first narrow one merge to fewer channels."""
        given = base.get('stage_cfgs', {})
        count = len(plain.stages)
        stages = list(given) if isinstance(given, (list, tuple)) else [given] * count
        channels = int(plain.stages[first].embed_dims * width)
        for heads in plain.num_heads[first:]:
            if channels % heads:
                raise ValueError(
                    f'expected channels that {heads} heads divide, got {channels}'
                )
        before = dict(stages[first - 1])
        merging = dict(before.get('downsample_cfg', {}), out_channels=channels)
        stages[first - 1] = dict(before, downsample_cfg=merging)
        return MODELS.build(dict(base, stage_cfgs=stages))

    def blocks(self, net, name) -> dict[int, int]:
        """Queries, keys and values of each head are apart."""
        heads = net.num_heads[int(name.split('.')[1])] if 'attn' in name else 1
        if '.qkv.' in name:
            return {0: 3 * heads}
        return {1: heads} if name.endswith('.proj.weight') and 'attn' in name else {}


@staging_for('SwinTransformerV2')
def swin_v2_staging(net: nn.Module) -> Staging:
    """Patches are merged at the beginning of a stage."""
    return WindowStaging(net)


def to_tokens(x: Tensor) -> Tensor:
    """Map (N, C, H, W) to (N, H * W, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Map (N, H * W, C) to (N, C, H, W)."""
    return tokens.unflatten(1, tuple(size)).permute(0, 3, 1, 2)
