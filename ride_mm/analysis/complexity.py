"""How large a model is and how much it computes, as a whole and part by part.

Multiply-adds (MACs) are those of convolutions and matrix products, for one image; what
normalises, adds, rectifies or pools counts nothing, as in RIDE's tables.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from ..models.classifiers import RIDEClassifier
from ..models.layers import MoELayer


@dataclass(frozen=True)
class PartCosts:
    """Cost of each part of a model with experts.

    Attributes:
        trunk: Of what all experts share.
        experts: Of each expert with neck and classifier, E of them.
        routers: Of each router, E - 1 of them; none without a ``RouterHead``.

    Raises:
        ValueError: If there is no expert, or not one router between any two.
    """

    trunk: int
    experts: tuple[int, ...]
    routers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.experts:
            raise ValueError('experts: expected the cost of at least one, got none')
        if len(self.routers) not in (0, len(self.experts) - 1):
            raise ValueError(
                f'routers: expected none, or {len(self.experts) - 1} for '
                f'{len(self.experts)} experts, got {len(self.routers)}'
            )

    @property
    def all_experts(self) -> int:
        """Trunk and all experts, without routers."""
        return self.trunk + sum(self.experts)

    def of_experts_used(self) -> np.ndarray:
        """Cost of a sample that used k experts, for k = 1..E, (E,).

        Such a sample has asked the first k routers, or all E - 1.
        """
        num_experts = len(self.experts)
        routers = np.zeros(num_experts, dtype=np.int64)
        routers[: len(self.routers)] = self.routers
        return self.trunk + np.cumsum(self.experts) + np.cumsum(routers)

    def mean(self, shares: ArrayLike) -> float:
        """Mean cost of a sample.

        Args:
            shares: Of the samples that used 1, 2, ..., E experts, (E,), >= 0: parts of
                one, percentages or numbers of samples alike.

        Raises:
            ValueError: If these are not E such numbers.
        """
        weights = np.asarray(shares, dtype=np.float64)
        if weights.shape != (len(self.experts),):
            raise ValueError(
                f'shares: expected {len(self.experts)}, one for each number of '
                f'experts, got shape {weights.shape}'
            )
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise ValueError(
                f'shares: expected numbers >= 0, one of them above, got {shares}'
            )
        return float(weights @ self.of_experts_used() / weights.sum())


def model_complexity(model: nn.Module, input_shape: Sequence[int]) -> tuple[int, int]:
    """Count the parameters and the multiply-adds for one image.

    With routers, the multiply-adds are those of an image that asks all of them and uses
    all experts, the most that one can cost.

    Args:
        model: Classifier that takes (N, 3, H, W), on any device; left as it was.
        input_shape: (3, H, W).

    Returns:
        Number of parameters and of multiply-adds.
    """
    parameters = sum(p.numel() for p in model.parameters())
    if isinstance(model, RIDEClassifier) and model.routed:
        macs = part_costs(model, input_shape).of_experts_used()[-1]
    else:
        with _evaluating(model):
            macs = _count_macs(model, _one_image(model, input_shape))[1]
    return parameters, int(macs)


def part_costs(model: RIDEClassifier, input_shape: Sequence[int]) -> PartCosts:
    """Count the multiply-adds of each part, for one image.

    Args:
        model: On any device; left as it was.
        input_shape: (3, H, W).

    Returns:
        Multiply-adds of trunk, experts and routers.

    Raises:
        TypeError: If the model is not a ``RIDEClassifier`` with a head.
    """
    return _by_part(model, input_shape, _count_macs)


def part_parameters(model: RIDEClassifier, input_shape: Sequence[int]) -> PartCosts:
    """Count the parameters of each part.

    A parameter belongs to the first part that computes with it: of a layer that all
    routers share, to the first router.

    Args:
        model: On any device; left as it was.
        input_shape: (3, H, W).

    Returns:
        Numbers of parameters of trunk, experts and routers.

    Raises:
        TypeError: If the model is not a ``RIDEClassifier`` with a head.
    """
    counted = set()

    def count(function: Callable, *args) -> tuple[Any, int]:
        with _UsedParameters() as used:
            result = function(*args)
        new = used.parameters - counted
        counted.update(new)
        return result, sum(p.numel() for p in new)

    return _by_part(model, input_shape, count)


def _by_part(
    model: RIDEClassifier,
    input_shape: Sequence[int],
    measure: Callable[..., tuple[Any, int]],
) -> PartCosts:
    if not (isinstance(model, RIDEClassifier) and model.with_head):
        raise TypeError(
            'model: expected a RIDEClassifier with a head, which has experts, got '
            f'{type(model).__name__}'
        )

    def expert(trunk: Tensor, e: int) -> tuple[Tensor, Tensor]:
        feature = model.pooled_feature(trunk, e)
        return feature, model.head.score_expert(feature, e)

    experts, routers, total = [], [], 0
    with _evaluating(model):
        image = _one_image(model, input_shape)
        trunk, trunk_cost = measure(model.backbone.forward_trunk, image)
        for e in range(model.num_experts):
            (feature, logits), cost = measure(expert, trunk, e)
            experts.append(cost)
            total = total + logits
            if model.routed and e + 1 < model.num_experts:
                _, cost = measure(model.head.router, feature, total / (e + 1), e)
                routers.append(cost)
    return PartCosts(trunk_cost, tuple(experts), tuple(routers))


def _one_image(model: nn.Module, input_shape: Sequence[int]) -> Tensor:
    return next(model.parameters()).new_zeros(1, *input_shape)


def _count_macs(function: Callable, *args) -> tuple[Any, int]:
    # Attention as the matrix products that it is: a fused kernel may count nothing.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        counter = FlopCounterMode(display=False, custom_mapping=_grouped_products())
        with sdpa_kernel(SDPBackend.MATH), counter:
            result = function(*args)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return result, counter.get_total_flops() // 2


def _grouped_products() -> dict:
    """How PyTorch's counter counts products of rows by their expert, if it has them."""
    product = getattr(torch.ops.aten, '_grouped_mm', None)
    if product is None:
        return {}

    def flops(rows: Sequence[int], weight: Sequence[int], *args, **kwargs) -> int:
        return 2 * rows[0] * weight[-2] * weight[-1]

    return {product: flops}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; then each module is in its own mode again.

    Only the flags are set: a ``train()`` of a module's own may do more than that.
    """
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        module.training = False
    layers = [module for module, _ in modes if isinstance(module, MoELayer)]
    for layer in layers:
        layer.static_shapes = True
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for layer in layers:
            layer.static_shapes = False


class _UsedParameters(TorchFunctionMode):
    """Collects the parameters that operations take."""

    def __init__(self) -> None:
        super().__init__()
        self.parameters = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for value in (*args, *kwargs.values()):
            values = value if isinstance(value, (tuple, list)) else (value,)
            self.parameters.update(v for v in values if isinstance(v, nn.Parameter))
        return func(*args, **kwargs)
