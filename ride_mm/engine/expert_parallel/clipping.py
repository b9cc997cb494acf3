"""Clipping gradients by a norm of which each process has a part."""

import math
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def clip_split_norm_(
    parameters: Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    *,
    split: frozenset[int],
    group: dist.ProcessGroup,
    **_: object,
) -> Tensor:
    """Scale gradients so that their norm is ``max_norm`` at most, in place.

    As :func:`torch.nn.utils.clip_grad_norm_` with the gradients of all processes: what
    is split counts in each of them, what is copied counts once.

    Args:
        parameters: Of this process, with gradients.
        max_norm: At most.
        norm_type: Which norm; ``inf`` is the largest number.
        error_if_nonfinite: Whether a norm that is no number is an error.
        split: ``id`` of the parameters of which other processes have other parts.
        group: These processes.

    Returns:
        The norm before, a scalar, the same in all processes.

    Raises:
        RuntimeError: If the norm is not finite and must be.
    """
    found: dict[bool, list[Tensor]] = {True: [], False: []}
    for parameter in parameters:
        if parameter.grad is not None:
            found[id(parameter) in split].append(parameter.grad)
    grads = [*found[True], *found[False]]
    if not grads:
        return torch.tensor(0.0)
    parts = torch.stack(
        [_norm(found[kind], norm_type, grads[0].device) for kind in (True, False)]
    )
    largest = norm_type == math.inf
    powers = parts if largest else parts**norm_type
    own = powers[:1].clone()
    dist.all_reduce(
        own, dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM, group=group
    )
    total = torch.maximum(own[0], powers[1]) if largest else own[0] + powers[1]
    total = total if largest else total ** (1 / norm_type)
    if error_if_nonfinite and not total.isfinite():
        raise RuntimeError(
            f'expected a finite norm of the gradients of all processes, got {total}'
        )
    # As in PyTorch.
    torch._foreach_mul_(grads, (max_norm / (total + 1e-6)).clamp(max=1.0))
    return total


def _norm(grads: list[Tensor], norm_type: float, device: torch.device) -> Tensor:
    if not grads:
        return torch.zeros((), device=device)
    norms = torch.stack(torch._foreach_norm(grads, norm_type))
    return torch.linalg.vector_norm(norms, norm_type)
