"""Ask expert after expert, only for the samples that still want one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Routed:
    """The decision on a batch, and what it took.

    Attributes:
        logits: Mean logits of the experts that each sample has asked, (N, C).
        num_experts: How many these are, 1 to E, (N,) int64.
        expert_logits: Logits of each expert, (N, E, C), NaN where it was not asked; on
            request only.
        router_scores: Logits of each router, (N, E - 1), NaN where it was not asked; on
            request only.
    """

    logits: Tensor
    num_experts: Tensor
    expert_logits: Tensor | None = None
    router_scores: Tensor | None = None


def route(
    x: Tensor,
    num_experts: int,
    ask: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    score: Callable[[Tensor, Tensor, int], Tensor],
    thresholds: Tensor,
    keep: bool = False,
) -> Routed:
    """Route a batch through the experts.

    Wang et al., RIDE, ICLR 2021, section 3.3: a sample that stops never comes back. The
    samples that go on are gathered into a smaller batch, so that the rest costs
    nothing. Each expert needs one synchronisation with a GPU, to find which samples go
    on; their indices are computed on the CPU, which saves several kernels.

    Args:
        x: What the experts work on, such as the trunk's feature maps, (N, ...).
        num_experts: Number of experts, E.
        ask: Maps n rows of ``x`` and an expert's index to its pooled feature (n, D) and
            its logits (n, C).
        score: Maps feature (n, D), mean logits (n, C) and the expert's index to the
            router's logits (n,).
        thresholds: A sample goes on where its score is above, (E - 1,).
        keep: Whether to keep each expert's logits and each router's scores.

    Returns:
        The decision and the number of experts of each sample.
    """
    rows = None  # of the samples that still ask, once these are not all
    logits = total = kept = None
    limits = thresholds.unbind()
    used = torch.ones(len(x), dtype=torch.int64, device=x.device)
    for e in range(num_experts):
        feature, own = ask(x, e)
        total = own if e == 0 else total + own
        mean = own if e == 0 else total / (e + 1)
        last = e + 1 == num_experts
        scores = None if last else score(feature, mean, e)
        if rows is None:
            logits = mean
            used.fill_(e + 1)
        else:
            logits = logits.index_copy(0, rows, mean)
            used.index_fill_(0, rows, e + 1)
        if keep:
            kept = _keep(kept, num_experts, rows, own, scores, e)
        if last:
            break
        going = (scores > limits[e]).cpu().nonzero().squeeze(1)
        if len(going) == 0:
            break
        if len(going) < len(x):
            going = going.to(x.device, non_blocking=True)
            x, total = x[going], total[going]
            rows = going if rows is None else rows[going]
    return Routed(logits, used, *(kept or ()))


def _keep(
    kept: tuple[Tensor, Tensor] | None,
    num_experts: int,
    rows: Tensor | None,
    own: Tensor,
    scores: Tensor | None,
    e: int,
) -> tuple[Tensor, Tensor]:
    """Put expert ``e``'s logits (n, C) and scores (n,) into those of the batch."""
    if kept is None:
        shape = len(own), num_experts, own.shape[1]
        kept = own.new_full(shape, torch.nan), own.new_full(shape[:2], torch.nan)[:, 1:]
    expert_logits, router_scores = kept
    rows = slice(None) if rows is None else rows
    expert_logits[rows, e] = own
    if scores is not None:
        router_scores[rows, e] = scores
    return kept
