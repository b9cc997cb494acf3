"""Class weights from class counts."""

import torch
from torch import Tensor


def effective_number_weights(class_counts: Tensor, beta: float = 0.9999) -> Tensor:
    """Weights by the inverse effective number of samples.

    ``w_c = (1 - beta) / (1 - beta ** n_c)``, scaled to sum to C (Cui et al.,
    Class-Balanced Loss, CVPR 2019, eq. 2 and section 4; used by LDAM-DRW and RIDE).

    Args:
        class_counts: Training images of each class, n_c >= 1, (C,).
        beta: In [0, 1); 0 weights all classes equally, towards 1 it becomes 1 / n_c.

    Returns:
        The weights in fp32, (C,).
    """
    # In fp64: 1 - beta ** n cancels in fp32 for small n.
    effective = 1.0 - torch.pow(beta, class_counts.double())
    weights = (1.0 - beta) / effective
    return (weights / weights.sum() * len(weights)).float()
