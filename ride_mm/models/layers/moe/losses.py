"""Losses that keep the experts evenly busy, for each group of tokens.

Riquelme et al., V-MoE, NeurIPS 2021, appendix A; G groups, S tokens each, E experts.
All are computed in the precision of their arguments, which the routers keep at fp32.
"""

import torch
from torch import Tensor


def squared_variation(x: Tensor) -> Tensor:
    """Squared coefficient of variation, ``(std / mean)^2``, over the last axis.

    The deviation is that of the population (a division by n). An axis of zeros gives
    NaN, as 0 / 0.
    """
    variance = x.var(-1, unbiased=False)
    return variance / x.mean(-1).square()


def importance_loss(gates: Tensor) -> Tensor:
    """Unevenness of the experts' total weight, equation 6.

    Args:
        gates: Softmax of the logits without noise, (G, S, E).

    Returns:
        (G,).
    """
    return squared_variation(gates.sum(1))


def load_loss(logits: Tensor, threshold: Tensor, noise_std: float) -> Tensor:
    """Unevenness of the experts' expected number of tokens, equations 7 to 9.

    The probability that an expert is among the selected ones, were its noise drawn
    anew, is ``1 - Phi((threshold - logit) / noise_std)``.

    Args:
        logits: Without noise, (G, S, E).
        threshold: The K-th largest noisy logit of each token, (G, S); gradients flow
            through it, too.
        noise_std: Standard deviation of the noise, > 0.

    Returns:
        (G,).
    """
    selected = torch.special.ndtr((logits - threshold[..., None]) / noise_std)
    return squared_variation(selected.mean(1))


def gshard_loss(gates: Tensor) -> Tensor:
    """GShard's loss: mean gate times share of first choices, 1 if both are even.

    Lepikhin et al., GShard, ICLR 2021, algorithm 1.

    Args:
        gates: Softmax of the logits that selected the experts, (G, S, E).

    Returns:
        (G,).
    """
    num_experts = gates.shape[-1]
    first = torch.nn.functional.one_hot(gates.argmax(-1), num_experts)
    share = first.to(gates.dtype).mean(1)
    return (gates.mean(1) * share).mean(-1) * num_experts**2
