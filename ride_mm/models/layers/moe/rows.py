"""Moving tokens to the rows of a buffer and weighted rows back to their tokens.

T tokens with K assignments each, R rows of width D; a row holds at most one token. Both
directions, and the gradients of both, only read by index: nothing is added up by atomic
operations, so a GPU gives the same bits each time.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def assignments_of_rows(rows: Tensor, kept: Tensor, num_rows: int) -> Tensor:
    """Turn the row of each assignment into the assignment of each row.

    Args:
        rows: Row of each assignment, (T, K).
        kept: Whether it has one, (T, K).
        num_rows: R.

    Returns:
        Number ``t * K + k`` of the assignment in each row, (R,); T * K in empty rows.
    """
    total = rows.numel()
    # One row more, for all assignments that were dropped.
    found = rows.new_full((num_rows + 1,), total)
    target = torch.where(kept, rows, num_rows).flatten()
    return found.scatter_(0, target, torch.arange(total, device=rows.device))[:-1]


def take_tokens(x: Tensor, assignments: Tensor, rows: Tensor, kept: Tensor) -> Tensor:
    """Copy tokens into rows. Empty rows hold a token, too, which nobody reads.

    Args:
        x: (T, D).
        assignments: Of :func:`assignments_of_rows`, (R,).
        rows: (T, K).
        kept: (T, K).

    Returns:
        (R, D).
    """
    return _Take.apply(x, assignments, rows, kept)


def add_rows(
    out: Tensor, weights: Tensor, assignments: Tensor, rows: Tensor, kept: Tensor
) -> Tensor:
    """Sum the weighted rows of each token.

    Args:
        out: (R, D).
        weights: Weight of each assignment, (T, K), fp32.
        assignments: Of :func:`assignments_of_rows`, (R,).
        rows: (T, K).
        kept: (T, K); what was dropped adds nothing.

    Returns:
        (T, D), in the precision of the weights; 0 for a token without a row.
    """
    return _Add.apply(out, torch.where(kept, weights, 0), assignments, rows, kept)


def _tokens(assignments: Tensor, rows: Tensor) -> Tensor:
    """Token of each row, (R,); the last one in empty rows."""
    return (assignments // rows.shape[1]).clamp_(max=len(rows) - 1)


def _gather(values: Tensor, rows: Tensor, kept: Tensor) -> Tensor:
    """Values (R, D) of each assignment, (T, K, D); any row's if it was dropped."""
    index = torch.where(kept, rows, 0).flatten()
    return values.index_select(0, index).unflatten(0, rows.shape)


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, assignments: Tensor, rows: Tensor, kept: Tensor
    ) -> Tensor:
        ctx.save_for_backward(rows, kept)
        return x.index_select(0, _tokens(assignments, rows))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, kept = ctx.saved_tensors
        grads = _gather(grad, rows, kept)
        return grads.masked_fill_(~kept[..., None], 0).sum(1), None, None, None


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        out: Tensor,
        weights: Tensor,
        assignments: Tensor,
        rows: Tensor,
        kept: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(out, weights, assignments, rows, kept)
        return (_gather(out, rows, kept) * weights[..., None]).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        out, weights, assignments, rows, kept = ctx.saved_tensors
        grad_out = grad_weights = None
        if ctx.needs_input_grad[0]:
            # Of empty rows it is 0.
            of_rows = torch.cat((weights.flatten(), weights.new_zeros(1)))[assignments]
            grads = grad.index_select(0, _tokens(assignments, rows))
            grad_out = (grads * of_rows[:, None]).to(out.dtype)
        if ctx.needs_input_grad[1]:
            grad_weights = (_gather(out, rows, kept) * grad[:, None]).sum(-1)
            grad_weights = grad_weights.masked_fill_(~kept, 0).to(weights.dtype)
        return grad_out, grad_weights, None, None, None
