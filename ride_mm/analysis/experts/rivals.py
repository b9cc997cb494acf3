"""What a layer of experts is measured against: a loop over experts, a dense MLP."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.layers.moe import MoELayer
from ...models.layers.moe.auxiliary import Report, add_report, is_collecting


class LoopOverExperts(nn.Module):
    """The same as a ``MoELayer``, written down plainly.

    The layer's router decides, a ``NoisyTopKRouter`` with losses. Each expert is a
    perceptron of its own; one after the other takes its tokens, and what it makes of
    them is added to their sum. The results are those of the layer.

    Args:
        layer: Whose router it shares and whose experts it copies.
    """

    def __init__(self, layer: MoELayer) -> None:
        super().__init__()
        experts = layer.experts
        self.layer = layer
        self.approximate = experts.approximate
        self.experts = nn.ModuleList()
        for e in range(experts.num_experts):
            parts = []
            for stacked in (experts.fc1, experts.fc2):
                linear = nn.Linear(*stacked.weight.shape[1:])
                linear.weight.data = stacked.weight.data[e].T.contiguous()
                linear.bias.data = stacked.bias.data[e].clone()
                parts.append(linear)
            self.experts.append(nn.ModuleList(parts))
        self.to(experts.fc1.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """Mix experts for tokens (N, L, D) of N images, and add them to these."""
        mixed, losses = [], []
        for group in self.layer.group(x):
            choice, scores = self.layer.router(group)
            if is_collecting():
                losses.append(self.layer.router.losses(scores, choice)[0])
            tokens = group.flatten(0, 1)
            experts = choice.experts.flatten(0, 1)  # (T, K)
            weights = choice.weights.flatten(0, 1)
            kept = choice.kept.flatten(0, 1)
            out = torch.zeros_like(tokens)
            for e, (fc1, fc2) in enumerate(self.experts):
                token, rank = ((experts == e) & kept).nonzero(as_tuple=True)
                hidden = F.gelu(fc1(tokens[token]), approximate=self.approximate)
                weighted = fc2(hidden) * weights[token, rank, None]
                out.index_add_(0, token, weighted.to(out.dtype))
            mixed.append(out)
        if losses:
            add_report(Report(self.layer, torch.cat(losses), {}))
        return x + torch.cat(mixed).view_as(x)


class DenseTwin(nn.Module):
    """A dense MLP with the multiply-adds that a layer's experts do for kept tokens.

    Its hidden width is that of an expert times the share of experts that a token gets:
    K times the share of the assignments that have room, to a multiple of 8. Router,
    empty rows of buffers and copying are what the layer does on top of that.

    Args:
        layer: Of experts.
        kept: Experts that a token gets, on average.
    """

    def __init__(self, layer: MoELayer, kept: float) -> None:
        super().__init__()
        channels, hidden = layer.experts.fc1.weight.shape[1:]
        width = max(8, 8 * round(hidden * kept / 8))
        self.approximate = layer.experts.approximate
        self.fc1, self.fc2 = nn.Linear(channels, width), nn.Linear(width, channels)
        self.to(layer.experts.fc1.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (N, L, D) and add them to these."""
        return x + self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))
