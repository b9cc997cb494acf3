"""BatchNorm of training steps in a form that compiles to fast code for CPUs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

#: Height and width of images (N, C, H, W).
PIXELS = (2, 3)


def batch_norm_by_image(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """BatchNorm by the statistics of the batch, each sum image by image.

    An image stays in a core's cache from its sum to its squared deviations. PyTorch's
    compiler adds at most 4,096 numbers in registers, those of 64 x 64 pixels, while it
    carries longer sums through memory. Deviations are from the image's own mean, so
    that large means cost no digits (Chan, Golub and LeVeque 1983,
    https://doi.org/10.1080/00031305.1983.10483115, equation 2.1b); the rest is
    algorithm 1 of Ioffe and Szegedy (https://arxiv.org/abs/1502.03167). Half precision
    is computed in fp32.

    Args:
        x: Images (N, C, H, W).
        weight: (C,).
        bias: (C,).
        eps: Added to the variance.

    Returns:
        Normalised images (N, C, H, W), and the mean and the biased variance of the
        batch, (C,) each and without gradient.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    images, pixels = len(x), x.shape[2] * x.shape[3]

    def by_image(values: Tensor) -> Tensor:
        """As many as images, (N, C, 1, 1), so that gradients are summed by image."""
        return values.view(1, -1, 1, 1).expand(images, -1, 1, 1)

    # All that follows comes from the sums: a mean that the gradient needs would be
    # written to memory between the two passes over an image.
    sums = wide.sum(PIXELS, keepdim=True)
    mean = sums.sum(0) * (1 / (images * pixels))
    # The gradient by an image's own mean is a sum of deviations from it, which is 0; so
    # is that by the batch's mean. Both are cut, which leaves no second derivatives.
    deviations = wide - sums.detach() * (1 / pixels)
    squares = deviations.square().sum(PIXELS, keepdim=True)
    squares = squares + (sums - pixels * mean.detach()).square() * (1 / pixels)
    var = squares.sum(0) * (1 / (images * pixels))
    scale = torch.rsqrt(var + eps) * weight[:, None, None]
    out = (wide - by_image(mean)) * by_image(scale) + by_image(bias)
    return out.to(x.dtype), mean.detach().flatten(), var.detach().flatten()


@contextmanager
def batch_norm_compiled_by_image() -> Iterator[None]:
    """Let ``BatchNorm2d`` be :func:`batch_norm_by_image` where it is compiled inside.

    Outside ``torch.compile``, in eval mode and on a GPU layers compute as before, and
    so do subclasses and layers without weights or with other running statistics.
    """
    nn.BatchNorm2d.forward = _forward
    try:
        yield
    finally:
        # It inherits its own.
        del nn.BatchNorm2d.forward


def _forward(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    if not (torch.compiler.is_compiling() and _can_stand_for(norm, x)):
        return _BatchNorm.forward(norm, x)
    n = x.numel() // x.shape[1]
    out, mean, var = batch_norm_by_image(x, norm.weight, norm.bias, norm.eps)
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        for running, value in (
            (norm.running_mean, mean),
            (norm.running_var, var * (n / (n - 1))),
        ):
            running.lerp_(value.to(running.dtype), norm.momentum)
    return out


def _can_stand_for(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    usual = type(norm) is nn.BatchNorm2d and norm.affine and norm.training
    counted = norm.track_running_stats and norm.momentum is not None
    images = x.device.type == 'cpu' and x.ndim == 4 and x.numel() > x.shape[1]
    return usual and counted and images
