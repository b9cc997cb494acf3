"""V-MoE: vision transformers with sparse mixtures of experts."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from mmengine.logging import print_log
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.utils import MultiheadAttention, to_2tuple
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers.attention import TANH_GELU, AttentionPooling, QKNormAttention
from ..layers.moe import MoELayer, collect_reports
from ..layers.moe.auxiliary import is_collecting
from ..layers.moe.router import lecun_normal_
from ..layers.position_embedding import (
    resize_grid,
    resize_positions,
    sincos2d_positions,
)
from .expert_backbone import freeze
from .upcycling import upcycle
from .vmoe_blocks import arch_settings, moe_blocks


@MODELS.register_module()
class VMoE(VisionTransformer):
    """MMPretrain's vision transformer with experts in place of some of its MLPs.

    Riquelme et al., Scaling Vision with Sparse Mixture of Experts, NeurIPS 2021, as in
    https://github.com/google-research/vmoe. The GELU is the one approximated by tanh,
    and position embeddings are resized as the authors do. Without ``moe`` it is their
    dense network.

    The losses of the routers reach the total loss through a classifier that collects
    them: ``VMoEClassifier`` or ``RIDEClassifier``.

    Args:
        arch: ``'s'``, ``'b'``, ``'l'``, ``'h'`` of the paper, or a dict of
            ``embed_dims``, ``num_layers``, ``num_heads``, ``feedforward_channels``.
        img_size: Size of the images; others are taken as well, their position
            embeddings resized.
        patch_size: Size of a patch, which divides that of the images.
        in_channels: Channels of the images.
        moe: ``blocks`` (of :func:`moe_blocks`, ``'every-2'`` by default) and the
            settings of :class:`MoELayer` but for channels, ``tanh_gelu`` and
            ``dropout_layer``, which the backbone sets; None for a dense network.
        pool: ``'token'`` takes the class token, ``'gap'`` the mean of the
            patches, ``'map'`` asks a probe.
        pos_embed: ``'learned'``, ``'sincos2d'`` or ``'none'``.
        tanh_gelu: Whether GELU is the authors' approximation, or the exact one that
            MMPretrain's vision transformers have; dense blocks and experts.
        qk_norm: Whether to normalise queries and keys.
        drop_rate: Dropout behind position embedding, attention and in dense MLPs.
        attn_drop_rate: Dropout of attention weights.
        drop_path_rate: Stochastic depth, which the authors do not have.
        frozen_stages: Blocks that do not learn, with all before them; -1 for none.
        with_cp: Compute blocks again during the backward pass, to save memory.
        init_cfg: MMEngine's initialization.

    Raises:
        ValueError: If a setting makes no sense.
    """

    def __init__(
        self,
        arch: str | dict = 'b',
        img_size: int | Sequence[int] = 224,
        patch_size: int | Sequence[int] = 16,
        in_channels: int = 3,
        moe: dict | None = None,
        pool: Literal['token', 'gap', 'map'] = 'token',
        pos_embed: Literal['learned', 'sincos2d', 'none'] = 'learned',
        tanh_gelu: bool = True,
        qk_norm: bool = False,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        arch = arch_settings(arch)
        _check_size(to_2tuple(img_size), to_2tuple(patch_size), 'img_size')
        for name, value, known in (
            ('pool', pool, ('token', 'gap', 'map')),
            ('pos_embed', pos_embed, ('learned', 'sincos2d', 'none')),
        ):
            if value not in known:
                raise ValueError(f'{name}: expected one of {known}, got {value!r}')
        moe = dict(blocks=()) if moe is None else {'blocks': 'every-2', **moe}
        blocks = moe_blocks(moe.pop('blocks'), arch['num_layers'])
        gelu = TANH_GELU if tanh_gelu else dict(type='GELU')
        super().__init__(
            arch=arch,
            img_size=img_size,
            patch_size=patch_size,
            in_channels=in_channels,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            norm_cfg=dict(type='LN', eps=1e-6),
            out_type='cls_token' if pool == 'token' else 'raw',
            with_cls_token=pool == 'token',
            patch_cfg=dict(padding=0),
            layer_cfgs=dict(attn_drop_rate=attn_drop_rate, act_cfg=gelu),
            init_cfg=init_cfg,
        )
        self.patch_size = to_2tuple(patch_size)
        self.moe_blocks = blocks
        self.with_cp = with_cp
        self.out_channels = self.embed_dims
        for i in blocks:
            layer = self.layers[i]
            layer.ffn = MoELayer(
                self.embed_dims,
                arch['feedforward_channels'],
                tanh_gelu=tanh_gelu,
                dropout_layer=layer.ffn.dropout_layer,
                **moe,
            )
        if qk_norm:
            for layer in self.layers:
                layer.attn = QKNormAttention(
                    self.embed_dims,
                    arch['num_heads'],
                    attn_drop=attn_drop_rate,
                    proj_drop=drop_rate,
                    dropout_layer=dict(
                        type='DropPath', drop_prob=layer.attn.out_drop.drop_prob
                    ),
                )
        self._set_positions(pos_embed)
        self.pool = (
            AttentionPooling(
                self.embed_dims, arch['num_heads'], arch['feedforward_channels']
            )
            if pool == 'map'
            else None
        )
        self.pool_type = pool
        if not -1 <= frozen_stages <= self.num_layers:
            raise ValueError(
                f'frozen_stages: expected -1 to {self.num_layers}, the number of '
                f'blocks, got {frozen_stages}'
            )
        self.frozen_stages = frozen_stages
        self._freeze_stages()

    def _set_positions(self, kind: str) -> None:
        if kind == 'learned':
            return
        del self.pos_embed
        if kind == 'none':
            self.pos_embed = None
            return
        grid = sincos2d_positions(self.patch_resolution, self.embed_dims)
        extra = grid.new_zeros(1, self.num_extra_tokens, self.embed_dims)
        self.register_buffer('pos_embed', torch.cat((extra, grid), 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Map images (N, 3, H, W) to their features, a tuple of one (N, D).

        Raises:
            ValueError: If the patches do not fit the images.
        """
        x = self.embed(x)
        for i in range(self.num_layers):
            x = self.run_block(i, x)
        return (self.pool_tokens(x),)

    def embed(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to tokens with their positions, (N, L, D)."""
        _check_size(x.shape[-2:], self.patch_size, 'images')
        x, size = self.patch_embed(x)
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1)
        if self.pos_embed is not None:
            x = x + self._positions(tuple(size))
        return self.drop_after_pos(x)

    def _positions(self, size: tuple[int, int]) -> Tensor:
        extra = self.num_extra_tokens
        grid = resize_grid(self.pos_embed[:, extra:], self.patch_resolution, size)
        return torch.cat((self.pos_embed[:, :extra], grid), 1)

    def run_block(self, i: int, x: Tensor) -> Tensor:
        """Apply block ``i`` to tokens (N, L, D)."""
        if self.with_cp and torch.is_grad_enabled():
            # What is computed again has to be the same, reports too; nobody reads them.
            again = collect_reports() if is_collecting() else nullcontext()
            return checkpoint(
                self.layers[i],
                x,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), again),
            )
        return self.layers[i](x)

    def pool_tokens(self, x: Tensor) -> Tensor:
        """Normalise tokens (N, L, D) and pool them, (N, D)."""
        x = self.ln1(x)
        if self.pool_type == 'token':
            return x[:, 0]
        return x.mean(1) if self.pool_type == 'gap' else self.pool(x)

    def init_weights(self) -> None:
        """Draw all weights as the authors do; pre-trained ones come on top."""
        for module in self.modules():
            if isinstance(module, MultiheadAttention):
                for weight in (*module.qkv.weight.chunk(3), module.proj.weight):
                    nn.init.xavier_uniform_(weight)
                nn.init.zeros_(module.qkv.bias)
                nn.init.zeros_(module.proj.bias)
            elif isinstance(module, nn.Conv2d):
                lecun_normal_(module.weight, module.weight[0].numel())
                nn.init.zeros_(module.bias)
        if isinstance(self.pos_embed, nn.Parameter):
            nn.init.normal_(self.pos_embed, std=0.02)
        # MMPretrain's own would draw the positions again.
        super(VisionTransformer, self).init_weights()

    def train(self, mode: bool = True) -> 'VMoE':
        """Set the mode; frozen blocks stay in eval mode, without noise or dropout."""
        super().train(mode)
        self._freeze_stages()
        return self

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        freeze([self.patch_embed, self.drop_after_pos])
        tensors = (self.cls_token, self.pos_embed)
        freeze([t for t in tensors if isinstance(t, nn.Parameter)])
        freeze(list(self.layers[: self.frozen_stages]))

    def fit_weights(self, state_dict: dict[str, Tensor], prefix: str = '') -> list[str]:
        """Fit a checkpoint to this network, in place: the size of images, experts.

        Returns:
            Names of the experts' tensors that were made from a dense network's.
        """
        shapes = {k: v.shape for k, v in self.state_dict().items()}
        made = upcycle(state_dict, shapes, prefix)
        self._resize_positions(state_dict, prefix)
        return made

    def _prepare_pos_embed(self, state_dict, prefix, *args, **kwargs) -> None:
        """MMPretrain has it called before a state dict is loaded."""
        if made := self.fit_weights(state_dict, prefix):
            print_log(
                f'{len(made)} tensors of experts start as copies of a dense network',
                logger='current',
            )

    def _resize_positions(self, state_dict: dict[str, Tensor], prefix: str) -> None:
        name = f'{prefix}pos_embed'
        found = state_dict.get(name)
        if found is None or not isinstance(self.pos_embed, nn.Parameter):
            return
        if found.shape == self.pos_embed.shape:
            return
        length, extra = found.shape[1], self.num_extra_tokens
        if not extra and round(length**0.5) ** 2 != length:
            found = found[:, 1:]  # That of a token which this network does not have.
        if found.shape[1:] != self.pos_embed.shape[1:]:
            found = resize_positions(found, tuple(self.patch_resolution), extra)
        state_dict[name] = found


def _check_size(size: Sequence[int], patch: Sequence[int], name: str) -> None:
    if any(s % p or s < p for s, p in zip(size, patch, strict=True)):
        raise ValueError(
            f'{name}: expected height and width that are multiples of the patch size '
            f'{patch[0]}x{patch[1]}, got {size[0]}x{size[1]}'
        )
