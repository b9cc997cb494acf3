"""The router: whether a sample asks one more expert."""

import logging
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from .full_precision import full_precision


class ExpertRouter(BaseModule):
    """Scores, after each expert but the last, whether to go on to the next one.

    Wang et al., RIDE, ICLR 2021, section 3.3 ("expert assignment" in
    https://github.com/frank-xwang/RIDE-LongTailRecognition). With the pooled feature v
    of expert i and the mean logits m of experts 0..i,

        h = relu(W1_i v / |v| + b1_i),   y_i = W2 [top_z(m); h] + b2.

    Departures: a feature of zeros is divided by a small number, where the authors'
    code gives NaN. Computed in fp32 under autocast.

    Args:
        num_experts: Number of experts, E >= 2; there are E - 1 scores.
        in_channels: Channels of an expert's feature, D.
        num_classes: Number of classes, C.
        top_z: How many of the largest mean logits are looked at, in descending order;
            no more than C, else C are, with a warning.
        hidden_channels: Width of h.
        shared: Whether W2 is the same after each expert.
        init: ``'kaiming'`` (the authors' on CIFAR) or ``'default'``, PyTorch's (the
            authors' on ImageNet).
    """

    def __init__(
        self,
        num_experts: int,
        in_channels: int,
        num_classes: int,
        top_z: int = 30,
        hidden_channels: int = 16,
        shared: bool = True,
        init: Literal['kaiming', 'default'] = 'kaiming',
    ) -> None:
        super().__init__()
        if num_experts < 2:
            raise ValueError(
                'num_experts: expected at least 2, for a router decides whether to ask '
                f'another expert, got {num_experts}'
            )
        for name, value in (('top_z', top_z), ('hidden_channels', hidden_channels)):
            if type(value) is not int or value < 1:
                raise ValueError(f'{name}: expected a whole number >= 1, got {value!r}')
        if init not in ('kaiming', 'default'):
            raise ValueError(f"init: expected 'kaiming' or 'default', got {init!r}")
        if top_z > num_classes:
            print_log(
                f'router: top_z={top_z} exceeds the number of classes; using all '
                f'{num_classes}',
                logger='current',
                level=logging.WARNING,
            )
        self.top_z = min(top_z, num_classes)
        self.init = init
        self.hidden = ModuleList(
            nn.Linear(in_channels, hidden_channels) for _ in range(num_experts - 1)
        )
        self.output = ModuleList(
            nn.Linear(self.top_z + hidden_channels, 1)
            for _ in range(1 if shared else num_experts - 1)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights; biases are PyTorch's in either case, as the authors'."""
        for layer in (*self.hidden, *self.output):
            layer.reset_parameters()
            if self.init == 'kaiming':
                nn.init.kaiming_normal_(layer.weight)

    def init_weights(self) -> None:
        """Initialize, whatever the head around does with its linear layers."""
        self.reset_parameters()
        self._is_init = True

    def forward(self, feature: Tensor, mean_logits: Tensor, i: int) -> Tensor:
        """Score whether to go on after expert ``i``.

        Args:
            feature: Pooled feature of expert i, (N, D).
            mean_logits: Mean logits of experts 0..i, (N, C).
            i: Index of the expert, 0 to E - 2.

        Returns:
            The logits y_i of the probability that another expert helps, (N,), fp32.
        """
        with full_precision(feature):
            top = mean_logits.float().topk(self.top_z).values  # (N, z), descending
            direction = F.normalize(feature.float(), dim=1)
            hidden = F.relu(self.hidden[i](direction))
            output = self.output[i % len(self.output)]
            return output(torch.cat([top, hidden], dim=1)).squeeze(1)
