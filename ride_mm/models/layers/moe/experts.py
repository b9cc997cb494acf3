"""All experts of a layer in one tensor, computed together."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from .expert_groups import ExpertGroups


def can_group(x: Tensor, *widths: int) -> bool:
    """Whether this PyTorch has grouped products of such rows (R, D).

    Args:
        x: Rows, on the device and in the precision of the product.
        *widths: Channels in and out.
    """
    if not hasattr(F, 'grouped_mm'):
        return False
    aligned = all(width * x.element_size() % 16 == 0 for width in widths)
    on_cpu = x.device.type in ('cpu', 'meta') and x.dtype != torch.float64
    return aligned and (on_cpu or x.dtype == torch.bfloat16)


def experts_of_rows(ends: Tensor, rows: int) -> Tensor:
    """Expert of each row where one's rows follow the other's, (R,), int32.

    Args:
        ends: Of each expert's rows, (E,), int32.
        rows: R.
    """
    row = torch.arange(rows, device=ends.device, dtype=torch.int32)
    return torch.searchsorted(ends, row, right=True, out_int32=True)


class StackedLinear(nn.Module):
    """E linear layers as one batched or grouped product.

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

    def forward(
        self, x: Tensor, ends: Tensor | None = None, numbers: Tensor | None = None
    ) -> Tensor:
        """Map (E, R, in) to (E, R, out), or (R, in) to (R, out).

        Args:
            x: Rows of each expert.
            ends: Of each expert's rows where they follow one another, (E,), int32.
            numbers: Expert of each of those rows, (R,).
        """
        if ends is None:
            return torch.baddbmm(self.bias[:, None], x, self.weight)
        weight = self.weight.to(x.dtype)
        if x.is_meta:  # Of the same shape and cost; not all have it for shapes alone.
            return x @ weight[0] + self.bias[0]
        bias = _OfRows.apply(self.bias.to(x.dtype), numbers)
        return F.grouped_mm(x, weight, offs=ends) + bias


class _OfRows(torch.autograd.Function):
    """Repeats each expert's vector for its rows; the gradient needs no atomic sums."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, numbers: Tensor) -> Tensor:
        ctx.save_for_backward(numbers)
        ctx.num_experts = len(x)
        return x.index_select(0, numbers)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        (numbers,) = ctx.saved_tensors
        expert = torch.arange(ctx.num_experts, device=grad.device)
        own = (numbers == expert[:, None]).to(grad.dtype)  # (E, R)
        return own @ grad, None


class StackedExperts(BaseModule):
    """E two-layer perceptrons with a GELU between.

    Under expert parallelism a process has a part of them; ``groups`` then says which.

    Args:
        num_experts: E.
        embed_dims: Channels of a token, D.
        feedforward_channels: Hidden channels.
        drop_rate: Dropout behind both layers.
        identical: Whether all experts start as the same one, as the authors' do; the
            routers then tell them apart.
        tanh_gelu: Whether GELU is approximated by tanh, as the authors', or exact.
    """

    def __init__(
        self,
        num_experts: int,
        embed_dims: int,
        feedforward_channels: int,
        drop_rate: float = 0.0,
        identical: bool = True,
        tanh_gelu: bool = True,
    ) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.identical = identical
        self.fc1 = StackedLinear(num_experts, embed_dims, feedforward_channels)
        self.fc2 = StackedLinear(num_experts, feedforward_channels, embed_dims)
        self.approximate = 'tanh' if tanh_gelu else 'none'
        self.drop = nn.Dropout(drop_rate)
        self.groups: ExpertGroups | None = None
        self.reset_parameters()

    @property
    def is_split(self) -> bool:
        """Whether other processes have some of them."""
        return len(self.fc1.weight) < self.num_experts

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw kernels by Xavier's uniform rule and biases close to 0."""
        for layer in (self.fc1, self.fc2):
            for e in range(1 if self.identical else self.num_experts):
                nn.init.xavier_uniform_(layer.weight[e])
                nn.init.normal_(layer.bias[e], std=1e-6)
            if self.identical:
                layer.weight[1:] = layer.weight[0]
                layer.bias[1:] = layer.bias[0]

    def init_weights(self) -> None:
        """Draw all anew."""
        super().init_weights()
        self.reset_parameters()

    def forward(self, x: Tensor, ends: Tensor | None = None) -> Tensor:
        """Map each expert's tokens to its outputs.

        Args:
            x: (E, R, D), or (R, D) with one expert's rows behind the other's.
            ends: Where those end, (E,), int32.

        Returns:
            Of the shape of x.
        """
        numbers = None
        if ends is not None and not x.is_meta:
            numbers = experts_of_rows(ends, len(x))
        hidden = F.gelu(self.fc1(x, ends, numbers), approximate=self.approximate)
        return self.drop(self.fc2(self.drop(hidden), ends, numbers))

    def can_group(self, x: Tensor) -> bool:
        """Whether it can compute rows (R, D) that follow one another."""
        return can_group(x, *self.fc1.weight.shape[1:])
