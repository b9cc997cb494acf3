"""Moving tokens to the rows of a buffer and weighted rows back to their tokens.

T tokens with K assignments each, R rows of width D; a row holds at most one token. Both
directions, and the gradients of both, only read by index: nothing is added up by atomic
operations, so a GPU gives the same bits each time.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def tokens_of_rows(rows: Tensor, num_rows: int) -> Tensor:
    """Turn the row of each assignment into the token of each row.

    Args:
        rows: Row of each assignment, (T, K), int64; R if it has none.
        num_rows: R.

    Returns:
        (R,); 0, any token, in empty rows.
    """
    tokens = torch.arange(len(rows), device=rows.device)[:, None].expand_as(rows)
    # One row more, for all assignments that were dropped.
    found = rows.new_zeros(num_rows + 1)
    return found.scatter_(0, rows.flatten(), tokens.flatten())[:-1]


def take_tokens(x: Tensor, tokens: Tensor, rows: Tensor) -> Tensor:
    """Copy tokens into rows. Empty rows hold a token, too, which nobody reads.

    Args:
        x: (T, D).
        tokens: Of :func:`tokens_of_rows`, (R,).
        rows: (T, K).

    Returns:
        (R, D).
    """
    return _Take.apply(x, tokens, rows)


def add_rows(out: Tensor, weights: Tensor, tokens: Tensor, rows: Tensor) -> Tensor:
    """Sum the weighted rows of each token.

    Args:
        out: (R, D).
        weights: Weight of each assignment, (T, K), fp32; of one that was dropped, 0.
        tokens: Of :func:`tokens_of_rows`, (R,).
        rows: (T, K).

    Returns:
        (T, D), in the precision of the weights; 0 for a token without a row.
    """
    return _Add.apply(out, weights, tokens, rows)


def _gather(values: Tensor, rows: Tensor) -> Tensor:
    """Values (R, D) of each assignment, (T, K, D); any row's if it was dropped."""
    index = rows.flatten().clamp(max=len(values) - 1)
    return values.index_select(0, index).unflatten(0, rows.shape)


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, tokens: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return x.index_select(0, tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        (rows,) = ctx.saved_tensors
        dropped = rows[..., None] == len(grad)
        return _gather(grad, rows).masked_fill_(dropped, 0).sum(1), None, None


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, out: Tensor, weights: Tensor, tokens: Tensor, rows: Tensor
    ) -> Tensor:
        ctx.save_for_backward(out, weights, tokens, rows)
        return (_gather(out, rows) * weights[..., None]).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        out, weights, tokens, rows = ctx.saved_tensors
        grad_out = grad_weights = None
        if ctx.needs_input_grad[0]:
            # Of empty rows it is 0.
            of_rows = weights.new_zeros(len(out) + 1)
            of_rows = of_rows.scatter_(0, rows.flatten(), weights.flatten())[:-1]
            grads = grad.index_select(0, tokens)
            grad_out = (grads * of_rows[:, None]).to(out.dtype)
        if ctx.needs_input_grad[1]:
            grad_weights = (_gather(out, rows) * grad[:, None]).sum(-1)
            grad_weights = grad_weights.to(weights.dtype)
        return grad_out, grad_weights, None, None
