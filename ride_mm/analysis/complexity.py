"""How large a model is and how much it computes."""

import torch
from mmengine.analysis import FlopAnalyzer
from torch import nn


def model_complexity(
    model: nn.Module, input_shape: tuple[int, int, int]
) -> tuple[int, int]:
    """Count the parameters and the multiply-adds for one image.

    MMEngine's count in evaluation mode: a multiply-add of a convolution or linear layer
    is one operation, BatchNorm counts two for each value, what is merely added or
    rectified counts nothing.

    Args:
        model: Classifier that takes (N, 3, H, W); its mode is left as it was.
        input_shape: (3, H, W).

    Returns:
        Number of parameters and of multiply-adds.
    """
    parameter = next(model.parameters())
    images = torch.zeros(1, *input_shape, device=parameter.device)
    training = model.training
    model.eval()
    try:
        analyzer = FlopAnalyzer(model, (images,))
        analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        operations = analyzer.total()
    finally:
        model.train(training)
    return sum(p.numel() for p in model.parameters()), int(operations)
