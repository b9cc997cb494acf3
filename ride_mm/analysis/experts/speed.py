"""How fast a layer of experts is, beside a loop over experts and a dense MLP."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...models.layers.moe import MoELayer, collect_reports
from ..timing import time_in_turns
from .rivals import DenseTwin, LoopOverExperts

NAMES = ('layer', 'loop', 'dense')
PASSES = ('forward', 'forward+backward')


@dataclass(frozen=True)
class LayerSize:
    """The sizes of a layer.

    Attributes:
        channels: Of a token, D.
        hidden: Channels inside of an expert.
        tokens: Of an image, L.
    """

    channels: int
    hidden: int
    tokens: int


# The digits' V-MoE and the authors' models, at 224 pixels.
SIZES = {
    'tiny': LayerSize(64, 128, 17),
    'S/32': LayerSize(512, 2048, 50),
    'B/16': LayerSize(768, 3072, 197),
}


@dataclass(frozen=True)
class LayerSpeed:
    """What was measured.

    Attributes:
        seconds: Of one call of ``NAMES``, median of the rounds.
        over_dense: Median of the rounds' ratios of the layer's time to the MLP's.
        over_loop: The same to the loop's.
        kept: Experts that a token gets on average.
        difference: Largest difference of the layer's outputs, and of the tokens'
            gradients if there are any, to the loop's, relative to the largest number.
    """

    seconds: tuple[float, ...]
    over_dense: float
    over_loop: float
    kept: float
    difference: float


def measure_layer(
    size: LayerSize,
    images: int,
    num_experts: int,
    router: dict,
    which: str,
    half: torch.dtype | None,
    seconds: float,
    device: torch.device,
) -> LayerSpeed:
    """Time a layer, the loop over its experts, and the dense MLP, in turns.

    The forward pass is that of testing, without gradients; forward and backward that of
    training, with noise and the losses of the router, gradients of parameters and
    tokens.

    Args:
        size: Of the layer.
        images: N.
        num_experts: E.
        router: Its settings.
        which: One of ``PASSES``.
        half: Precision under autocast; None for fp32.
        seconds: How long to measure.
        device: Where.
    """
    torch.manual_seed(0)
    layer = MoELayer(
        size.channels,
        size.hidden,
        num_experts,
        router,
        identical_experts=False,
    ).to(device)
    learning = which == PASSES[1]
    layer.train(learning)
    shape = images, size.tokens, size.channels
    x = torch.randn(shape, device=device, requires_grad=learning)
    with torch.no_grad():
        routed = [layer.router(group)[0] for group in layer.group(x)]
    taken = sum(int(choice.tokens_per_expert().sum()) for choice in routed)
    kept = taken / (images * size.tokens)
    models = layer, LoopOverExperts(layer), DenseTwin(layer, kept)
    gradient = torch.randn(shape, device=device)
    calls = [_call(model, x, gradient, half) for model in models]
    difference = _difference(calls[0], calls[1], x)
    rounds = time_in_turns(calls, seconds, device)
    return LayerSpeed(
        tuple(statistics.median(times) for times in zip(*rounds, strict=True)),
        statistics.median(times[0] / times[2] for times in rounds),
        statistics.median(times[0] / times[1] for times in rounds),
        kept,
        difference,
    )


def _call(
    model: nn.Module, x: Tensor, gradient: Tensor, half: torch.dtype | None
) -> Callable[[], Tensor]:
    """A function that computes outputs (N, L, D), and gradients if the tokens do."""
    autocast = dict(device_type=x.device.type, dtype=half, enabled=half is not None)

    def forward() -> Tensor:
        with torch.no_grad(), torch.autocast(**autocast):
            return model(x)

    def both() -> Tensor:
        model.zero_grad()
        x.grad = None
        with torch.autocast(**autocast), collect_reports() as reports:
            y = model(x)
        # As if a network came behind it, plus the losses of the router.
        losses = [r.loss.mean() for r in reports if r.loss is not None]
        torch.autograd.backward([y, *losses], [gradient, *(None for _ in losses)])
        return y.detach()

    return both if x.requires_grad else forward


def _difference(ours: Callable, theirs: Callable, x: Tensor) -> float:
    """Largest relative difference of outputs and the tokens' gradients."""
    found = []
    for call in (ours, theirs):
        torch.manual_seed(1)  # The same noise.
        y = call()
        found.append([y.float()] if x.grad is None else [y.float(), x.grad.clone()])
    return max(
        ((a - b).abs().max() / b.abs().max()).item()
        for a, b in zip(*found, strict=True)
    )
