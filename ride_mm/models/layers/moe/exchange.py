"""Tokens on their way to the experts of other processes, and back.

R rows are what this process has for all E experts, each process its own number of them;
P processes have E / P experts each. Only rows that hold a token travel. How many come
from where is told first, for which the host waits.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .dispatch import TokensChoose, buffer_positions
from .experts import StackedExperts, experts_of_rows


def mix_elsewhere(
    experts: StackedExperts, filled: Sequence[Tensor], ends: Sequence[Tensor | None]
) -> list[Tensor]:
    """Apply all experts to buffers, each in the process that has it.

    All processes of the group have to call it, each with buffers of its own.

    Args:
        experts: This process's part of them.
        filled: Buffers (E, R, D), or (R, D) with one expert's rows behind the other's.
        ends: Where those end, (E,), int32, for each buffer.

    Returns:
        The experts' outputs in the buffers' shapes.
    """
    groups, channels = experts.groups, filled[0].shape[-1]
    rows = torch.cat([x.reshape(-1, channels) for x in filled])
    numbers = torch.cat([_numbers(x, end) for x, end in zip(filled, ends, strict=True)])
    order = numbers.argsort(stable=True)
    sent = numbers.bincount(minlength=experts.num_experts)
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent, group=groups.exchange)
    received = received.view(groups.size, -1)  # (P, E / P)
    to, of = torch.stack((sent.view_as(received).sum(1), received.sum(1))).tolist()
    arrived = _Exchange.apply(rows[order], to, of, groups.exchange)
    out = _own(experts, arrived, received)
    out = _Exchange.apply(out, of, to, groups.exchange)[order.argsort()]
    parts = out.split([x[..., 0].numel() for x in filled])
    return [part.view(x.shape) for part, x in zip(parts, filled, strict=True)]


def _numbers(x: Tensor, ends: Tensor | None) -> Tensor:
    """Expert of each row of a buffer, (R,), int64."""
    if ends is None:
        return torch.arange(len(x), device=x.device).repeat_interleave(x.shape[1])
    return experts_of_rows(ends, len(x)).long()


def _own(experts: StackedExperts, rows: Tensor, received: Tensor) -> Tensor:
    """Apply the experts of this process to rows (R, D) of all processes.

    Args:
        experts: This process's part of them.
        rows: Process by process, of each expert by expert.
        received: Rows by process and expert, (P, E / P).
    """
    processes, own = received.shape
    if not len(rows):  # The parameters take part in the gradient nevertheless.
        return experts(rows.new_zeros(own, 1, rows.shape[1]))[:, 0][:0]
    numbers = torch.arange(own, device=rows.device).repeat(processes)
    numbers = numbers.repeat_interleave(received.flatten(), output_size=len(rows))
    numbers = numbers[None, :, None]
    choice = TokensChoose(
        numbers,
        *buffer_positions(numbers, own),
        weights=rows.new_ones(numbers.shape),
        capacity=len(rows),
    )
    buffer = choice.buffer('exact' if experts.can_group(rows) else 'trimmed')
    return buffer.read(experts(buffer.fill(rows), buffer.ends))


class _Exchange(torch.autograd.Function):
    """Sends rows to processes; their gradients come back the other way."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        rows: Tensor,
        to: list[int],
        of: list[int],
        group: dist.ProcessGroup,
    ) -> Tensor:
        ctx.to, ctx.of, ctx.group = to, of, group
        return _exchange(rows, to, of, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _exchange(grad, ctx.of, ctx.to, ctx.group), None, None, None


def _exchange(
    rows: Tensor, to: list[int], of: list[int], group: dist.ProcessGroup
) -> Tensor:
    """Send ``to[p]`` rows to each process p and get ``of[p]`` from it."""
    arrived = rows.new_empty(sum(of), rows.shape[1])
    dist.all_to_all_single(arrived, rows.contiguous(), of, to, group=group)
    return arrived
