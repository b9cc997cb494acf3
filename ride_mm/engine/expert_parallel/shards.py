"""Splitting experts over processes, and putting them together to be saved."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from ...models.layers.moe import StackedExperts


def experts_of(model: nn.Module) -> dict[str, StackedExperts]:
    """A model's experts by the name of their module."""
    named = model.named_modules()
    return {name: m for name, m in named if isinstance(m, StackedExperts)}


def split_experts(model: nn.Module, optimizer: Optimizer | None = None) -> int:
    """Keep those experts that this process has, in place, where not done already.

    Gradients of them then are those of the mean over all processes, as other
    parameters' are.

    Args:
        model: With ``groups`` at its experts.
        optimizer: Its state is split likewise.

    Returns:
        The number of layers that were split.
    """
    done = 0
    for experts in experts_of(model).values():
        if experts.is_split or experts.groups is None:
            continue
        if experts.groups.size == 1:
            continue
        for parameter in experts.parameters():
            whole = parameter.shape
            for tensor in _tensors(parameter, optimizer, whole):
                tensor.data = _own(tensor.data, experts)
            if parameter.requires_grad:
                parameter.register_hook(_mean_over_processes(experts))
        done += 1
    return done


def _tensors(
    parameter: nn.Parameter, optimizer: Optimizer | None, shape: torch.Size
) -> list[Tensor]:
    """A parameter and what the optimizer knows of each of its numbers."""
    state = optimizer.state.get(parameter, {}) if optimizer is not None else {}
    known = [v for v in state.values() if isinstance(v, Tensor) and v.shape == shape]
    return [parameter, *known]


def _own(tensor: Tensor, experts: StackedExperts) -> Tensor:
    """The part (E / P, ...) of a tensor (E, ...)."""
    groups = experts.groups
    return tensor.chunk(groups.size)[groups.place].clone()


def _mean_over_processes(experts: StackedExperts):
    """A gradient here is the sum over the group, to be the mean over all processes."""
    groups = experts.groups

    def hook(grad: Tensor) -> Tensor:
        grad = grad / groups.processes
        if groups.processes > groups.size:
            dist.all_reduce(grad, group=groups.replicas)
        return grad

    return hook


@contextmanager
def whole_experts(
    models: Iterable[nn.Module], optimizer: Optimizer | None = None
) -> Iterator[None]:
    """Have all experts in the memory of the first process, for so long.

    All processes have to enter it. Parameters and the optimizer's state of the first
    one are those of all experts, on the CPU; the others' stay as they are.
    """
    kept: list[tuple[Tensor, Tensor]] = []
    try:
        for model in models:
            for experts in experts_of(model).values():
                if experts.is_split:
                    kept += _gather(experts, optimizer)
        yield
    finally:
        for tensor, own in kept:
            tensor.data = own


def _gather(
    experts: StackedExperts, optimizer: Optimizer | None
) -> list[tuple[Tensor, Tensor]]:
    """Replace the tensors of experts by those of all; these and what they were."""
    kept, groups = [], experts.groups
    for parameter in experts.parameters():
        for tensor in _tensors(parameter, optimizer, parameter.shape):
            own = tensor.data
            parts = [torch.empty_like(own) for _ in range(groups.size)]
            dist.all_gather(parts, own.contiguous(), group=groups.exchange)
            if dist.get_rank() == 0:
                tensor.data = torch.cat([part.cpu() for part in parts])
                kept.append((tensor, own))
    return kept
