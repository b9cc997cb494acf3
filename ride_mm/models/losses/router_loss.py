"""What a router learns: whether a later expert would mend the decision."""

import torch
import torch.nn.functional as F
from torch import Tensor


def running_means(expert_logits: Tensor) -> Tensor:
    """Mean logits of experts 0..k, for each k: (E, N, C) to (E, N, C)."""
    used = torch.arange(1, len(expert_logits) + 1, device=expert_logits.device)
    return expert_logits.cumsum(0) / used[:, None, None]


def router_targets(mean_logits: Tensor, label: Tensor) -> Tensor:
    """Tell where it would have been right to go on.

    Wang et al., RIDE, ICLR 2021, section 3.3: after expert i the answer is yes if the
    mean of experts 0..i is wrong **and** the mean of experts 0..j is right for a j > i.

    Args:
        mean_logits: Of :func:`running_means`, (E, N, C).
        label: Class indices, (N,).

    Returns:
        1 or 0 after each expert but the last, (E - 1, N), fp32.
    """
    right = mean_logits.argmax(-1) == label  # (E, N)
    right_later = right.flip(0).cummax(0).values.flip(0)  # at k or any later one
    return (~right[:-1] & right_later[1:]).float()


def router_loss(scores: Tensor, targets: Tensor, pos_weight: float = 100.0) -> Tensor:
    """Binary cross-entropy of the routers, positives weighted (RIDE, section 3.3).

    Args:
        scores: Logits of the routers, (E - 1, N).
        targets: Of :func:`router_targets`, (E - 1, N).
        pos_weight: Weight of a sample that should go on.

    Returns:
        The mean over samples and routers, a scalar.
    """
    weight = scores.new_full((), pos_weight)
    return F.binary_cross_entropy_with_logits(
        scores.float(), targets, pos_weight=weight
    )
