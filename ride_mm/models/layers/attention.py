"""Attention that MMPretrain does not have: normalised, and of a single probe."""

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

TANH_GELU = dict(type='GELU', approximate='tanh')


class QKNormAttention(MultiheadAttention):
    """Self-attention whose queries and keys are normalised in each head.

    Arguments are those of MMPretrain's ``MultiheadAttention``, of which ``qk_scale``,
    ``v_shortcut`` and ``use_layer_scale`` change nothing here.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.q_norm = nn.LayerNorm(self.head_dims, eps=1e-6, bias=False)
        self.k_norm = nn.LayerNorm(self.head_dims, eps=1e-6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (N, L, D) to (N, L, D)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dims))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (N, heads, L, D / heads) each
        q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)
        drop = self.attn_drop if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=drop)
        x = self.proj(x.transpose(1, 2).flatten(2))
        return self.out_drop(self.proj_drop(x))


class ProbeAttention(BaseModule):
    """Attention of other tokens' queries to a sequence.

    Args:
        embed_dims: Channels, D.
        num_heads: Heads.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(embed_dims, embed_dims)
        self.k = nn.Linear(embed_dims, embed_dims)
        self.v = nn.Linear(embed_dims, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, probe: Tensor, x: Tensor) -> Tensor:
        """Map queries (N, Q, D) and tokens (N, L, D) to (N, Q, D)."""
        q, k, v = (
            layer(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.q, probe), (self.k, x), (self.v, x))
        )
        return self.proj(
            F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        )

    def init_weights(self) -> None:
        """Draw kernels by Xavier's uniform rule; biases are 0."""
        super().init_weights()
        for layer in (self.q, self.k, self.v, self.proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class AttentionPooling(BaseModule):
    """MAP head: a learned probe attends to all tokens, then an MLP.

    Zhai et al., Scaling Vision Transformers, CVPR 2022, section 3.2.

    Args:
        embed_dims: Channels, D.
        num_heads: Heads.
        feedforward_channels: Hidden channels of the MLP.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, feedforward_channels: int
    ) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, embed_dims))
        self.attn = ProbeAttention(embed_dims, num_heads)
        self.ln = nn.LayerNorm(embed_dims, eps=1e-6)
        self.ffn = FFN(embed_dims, feedforward_channels, act_cfg=TANH_GELU)
        nn.init.xavier_uniform_(self.probe)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (N, L, D) to (N, D)."""
        x = self.attn(self.probe.expand(len(x), -1, -1), x)
        return self.ffn(self.ln(x), identity=x)[:, 0]

    def init_weights(self) -> None:
        """Draw all anew."""
        super().init_weights()
        nn.init.xavier_uniform_(self.probe)
        for layer in self.ffn.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)
