"""A sparse mixture of experts in place of a transformer's MLP."""

from typing import Literal

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .auxiliary import Report, add_report, is_collecting
from .experts import StackedExperts


class MoELayer(BaseModule):
    """Routes tokens to experts and adds what they make of them.

    Riquelme et al., V-MoE, NeurIPS 2021, section 2.1. Tokens of ``images_per_group``
    successive images are a group, which is routed on its own: it has its own room in
    each expert and its own losses.

    Args:
        embed_dims: Channels of a token, D.
        feedforward_channels: Hidden channels of an expert.
        num_experts: E.
        router: Config of a router: ``NoisyTopKRouter``, which is the default, or
            ``ExpertsChooseRouter``.
        images_per_group: Images whose tokens compete for room.
        short_group: What becomes of images that do not fill a group: ``'own'`` makes
            them a smaller one, with room in proportion; ``'refuse'`` is an error, as it
            is for the authors.
        drop_rate: Dropout inside the experts.
        identical_experts: Whether all experts start as the same one.
        dropout_layer: Between the experts' output and the residual, if any.

    Raises:
        ValueError: If a setting makes no sense.
    """

    def __init__(
        self,
        embed_dims: int,
        feedforward_channels: int,
        num_experts: int = 8,
        router: dict | None = None,
        images_per_group: int = 8,
        short_group: Literal['own', 'refuse'] = 'own',
        drop_rate: float = 0.0,
        identical_experts: bool = True,
        dropout_layer: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if type(images_per_group) is not int or images_per_group < 1:
            raise ValueError(
                'images_per_group: expected a whole number >= 1, got '
                f'{images_per_group!r}'
            )
        if short_group not in ('own', 'refuse'):
            raise ValueError(
                f"short_group: expected 'own' or 'refuse', got {short_group!r}"
            )
        self.images_per_group = images_per_group
        self.short_group = short_group
        self.router = MODELS.build(
            {
                'type': 'NoisyTopKRouter',
                **(router or {}),
                'embed_dims': embed_dims,
                'num_experts': num_experts,
            }
        )
        self.experts = StackedExperts(
            num_experts, embed_dims, feedforward_channels, drop_rate, identical_experts
        )
        self.dropout_layer = dropout_layer or nn.Identity()

    def forward(self, x: Tensor, identity: Tensor | None = None) -> Tensor:
        """Mix experts for tokens (N, L, D) of N images.

        Args:
            x: Normalised tokens.
            identity: What to add, the tokens before normalisation; x by default.

        Returns:
            (N, L, D); a token without an expert is as in ``identity``.

        Raises:
            ValueError: If the images do not fill the groups and must.
        """
        identity = x if identity is None else identity
        if not len(x):
            return identity
        groups = self.group(x)
        routed = [self.router(group) for group in groups]
        if is_collecting():
            self._report(routed)
        dtype = _product_dtype(x)
        buffers = [
            choice.dispatch(group.to(dtype))
            for (choice, _), group in zip(routed, groups, strict=True)
        ]
        out = self.experts(_joined(buffers, 1))  # (E, all rows, D)
        parts = out.split([buffer.shape[1] for buffer in buffers], 1)
        mixed = [
            choice.combine(part).flatten(0, 1)
            for (choice, _), part in zip(routed, parts, strict=True)
        ]
        mixed = _joined(mixed, 0).view(x.shape).to(x.dtype)
        return identity + self.dropout_layer(mixed)

    def group(self, x: Tensor) -> list[Tensor]:
        """Divide tokens (N, L, D) into groups (G, S, D), and a smaller one (1, S', D).

        Raises:
            ValueError: If the images do not fill the groups and must.
        """
        images, _, channels = x.shape
        rest = images % self.images_per_group
        if rest and self.short_group == 'refuse':
            raise ValueError(
                f'expected a multiple of {self.images_per_group} images '
                f'(images_per_group), got {images}, whose tokens do not fill a group; '
                "short_group='own' makes a smaller group of the rest"
            )
        full = images - rest
        groups = []
        if full:
            size = self.images_per_group * x.shape[1]
            groups.append(x[:full].reshape(-1, size, channels))
        if rest:
            groups.append(x[full:].reshape(1, -1, channels))
        return groups

    def _report(self, routed: list[tuple]) -> None:
        losses, terms = zip(
            *(self.router.losses(scores, choice) for choice, scores in routed),
            strict=True,
        )
        figures = {name: _joined([t[name] for t in terms], 0) for name in terms[0]}
        figures['dropped'] = _joined([choice.dropped() for choice, _ in routed], 0)
        loss = None if losses[0] is None else _joined(list(losses), 0)
        add_report(Report(self, loss, figures))


def _joined(tensors: list[Tensor], dim: int) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


def _product_dtype(x: Tensor) -> torch.dtype:
    """Precision of the experts' products: to cast before copying moves less."""
    device = x.device.type
    if x.is_meta or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)
