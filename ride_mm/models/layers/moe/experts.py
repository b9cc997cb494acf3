"""All experts of a layer in one tensor, computed together."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """E linear layers as one batched product.

    The weight is (E, in, out), each expert's the transpose of ``nn.Linear``'s.

    Args:
        num_experts: E.
        in_features: Channels in.
        out_features: Channels out.
    """

    def __init__(self, num_experts: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(num_experts, out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Map (E, R, in) to (E, R, out)."""
        return torch.baddbmm(self.bias[:, None], x, self.weight)


class StackedExperts(BaseModule):
    """E two-layer perceptrons, tanh-approximated GELU between.

    Args:
        num_experts: E.
        embed_dims: Channels of a token, D.
        feedforward_channels: Hidden channels.
        drop_rate: Dropout behind both layers.
        identical: Whether all experts start as the same one, as the authors' do; the
            routers then tell them apart.
    """

    def __init__(
        self,
        num_experts: int,
        embed_dims: int,
        feedforward_channels: int,
        drop_rate: float = 0.0,
        identical: bool = True,
    ) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.identical = identical
        self.fc1 = StackedLinear(num_experts, embed_dims, feedforward_channels)
        self.fc2 = StackedLinear(num_experts, feedforward_channels, embed_dims)
        self.drop = nn.Dropout(drop_rate)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw kernels by Xavier's uniform rule and biases close to 0."""
        for layer in (self.fc1, self.fc2):
            for e in range(self.num_experts):
                if e and self.identical:
                    break
                nn.init.xavier_uniform_(layer.weight[e])
                nn.init.normal_(layer.bias[e], std=1e-6)
            if self.identical:
                with torch.no_grad():
                    layer.weight[1:] = layer.weight[0]
                    layer.bias[1:] = layer.bias[0]

    def init_weights(self) -> None:
        """Draw all anew."""
        super().init_weights()
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map each expert's tokens, (E, R, D), to its outputs, (E, R, D)."""
        hidden = self.drop(F.gelu(self.fc1(x), approximate='tanh'))
        return self.drop(self.fc2(hidden))
