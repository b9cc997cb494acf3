"""A sparse mixture of experts in place of a transformer's MLP."""

from typing import Literal, get_args

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .auxiliary import Report, add_report, is_collecting
from .buffers import Layout
from .exchange import mix_elsewhere
from .experts import StackedExperts

LAYOUTS = ('auto', *get_args(Layout))
# Thresholds found by trial with `tools/benchmarks/vmoe.py` on a CPU.

# Rows for each assignment from which on empty ones cost more than doing without.
WORTH_PACKING = 1.25
# Multiply-adds from which on, on a CPU, products of rows that nobody needs cost more
# than finding out who goes where, and than going from expert to expert.
WORTH_SORTING, WORTH_GROUPING = 5e6, 1e8


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
        short_group: Images that do not fill a group: ``'own'`` makes them a smaller
            group, with room in proportion; ``'refuse'`` is an error, as it
            is for the authors.
        drop_rate: Dropout inside the experts.
        identical_experts: Whether all experts start as the same one.
        tanh_gelu: Whether the experts' GELU is the approximated one.
        layout: Of the buffers, as in ``buffers.py``; ``'auto'`` takes one by
            device, precision and size. It changes speed only. ``'ragged'`` and
            ``'exact'`` need PyTorch's grouped products.
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
        tanh_gelu: bool = True,
        layout: Layout | Literal['auto'] = 'auto',
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
        if layout not in LAYOUTS:
            raise ValueError(f'layout: expected one of {LAYOUTS}, got {layout!r}')
        self.images_per_group = images_per_group
        self.short_group = short_group
        self.layout = layout
        # Whether costs are counted, which must not depend on the image.
        self.static_shapes = False
        self.router = MODELS.build(
            {
                'type': 'NoisyTopKRouter',
                **(router or {}),
                'embed_dims': embed_dims,
                'num_experts': num_experts,
            }
        )
        self.experts = StackedExperts(
            num_experts,
            embed_dims,
            feedforward_channels,
            drop_rate,
            identical_experts,
            tanh_gelu,
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
        buffers, filled = self._fill(groups, [choice for choice, _ in routed])
        mixed = [
            buffer.read(out)
            for buffer, out in zip(buffers, self._mix(buffers, filled), strict=True)
        ]
        mixed = _joined(mixed, 0).view(x.shape).to(x.dtype)
        return identity + self.dropout_layer(mixed)

    def _fill(self, groups: list[Tensor], choices: list) -> tuple[list, list[Tensor]]:
        """Copy the tokens of groups (G, S, D) to the buffers of the experts."""
        dtype = _product_dtype(groups[0])
        tokens = [group.flatten(0, 1).to(dtype) for group in groups]
        layout = self._layout(tokens, choices)
        buffers = [choice.buffer(layout) for choice in choices]
        filled = [
            buffer.fill(some) for buffer, some in zip(buffers, tokens, strict=True)
        ]
        return buffers, filled

    def _layout(self, tokens: list[Tensor], choices: list) -> Layout:
        """The fastest layout for tokens (T, D) of groups, if none was asked for."""
        if self.experts.is_split:
            return 'exact'
        grouped = self.experts.can_group(tokens[0])
        if self.layout in ('ragged', 'exact') and not grouped:
            widths = tuple(self.experts.fc1.weight.shape[1:])
            raise ValueError(
                "layout: expected 'padded', 'trimmed', 'dense' or 'auto', for PyTorch "
                f'{torch.__version__} has no grouped product of {tokens[0].dtype} with '
                f'{widths} channels on {tokens[0].device.type}, got {self.layout!r}'
            )
        if self.layout != 'auto':
            return self.layout
        if tokens[0].device.type == 'cpu' and grouped and not self.static_shapes:
            of_row = 2 * self.experts.fc1.weight[0].numel()  # Multiply-adds.
            rows = sum(map(len, tokens)) * self.experts.num_experts
            if rows * of_row < WORTH_SORTING:
                return 'dense'
            rows = sum(choice.padded_rows for choice in choices)
            return 'trimmed' if rows * of_row < WORTH_GROUPING else 'exact'
        if max(choice.waste for choice in choices) <= WORTH_PACKING:
            return 'padded'
        # Of tensors without numbers the shapes alone are known.
        static = self.static_shapes or tokens[0].is_meta
        return 'ragged' if grouped or static else 'trimmed'

    def _mix(self, buffers: list, filled: list[Tensor]) -> list[Tensor]:
        """Apply the experts to buffers, all at once if they have an axis of experts."""
        if self.experts.is_split:
            return mix_elsewhere(self.experts, filled, [b.ends for b in buffers])
        if buffers[0].ends is not None:
            return [
                self.experts(x, buffer.ends)
                for buffer, x in zip(buffers, filled, strict=True)
            ]
        out = self.experts(_joined(filled, 1))  # (E, all rows, D)
        return list(out.split([x.shape[1] for x in filled], 1))

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
