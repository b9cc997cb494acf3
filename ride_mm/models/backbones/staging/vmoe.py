"""V-MoE: each block is a stage."""

from torch import Tensor, nn

from .base import Staging, staging_for


@staging_for('VMoE')
class VMoEStaging(Staging):
    """Between blocks it is tokens (N, L, D). Experts have routers of their own.

    The width of the tokens is that of the residual stream, which no block can change.
    """

    min_shared = 1

    def __init__(self, net: nn.Module) -> None:
        names = 'patch_embed', 'drop_after_pos', 'cls_token', 'pos_embed'
        stem = [name for name in names if getattr(net, name, None) is not None]
        output = [name for name in ('ln1', 'pool') if getattr(net, name) is not None]
        super().__init__(
            stem, [(f'layers.{i}',) for i in range(net.num_layers)], output
        )

    def enter(self, net: nn.Module, images: Tensor) -> Tensor:
        """Embed patches, class and position."""
        return net.embed(images)

    def run(self, net: nn.Module, i: int, x: Tensor) -> Tensor:
        """Apply a block."""
        return net.run_block(i, x)

    def leave(self, net: nn.Module, x: Tensor) -> Tensor:
        """Normalise, and pool the tokens."""
        return net.pool_tokens(x)
