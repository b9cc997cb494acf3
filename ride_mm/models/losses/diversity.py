"""RIDE's loss that drives the experts apart."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..layers import ClassCountsMixin
from ..layers.full_precision import full_precision


def relative_frequency(class_counts: Tensor, class_factor: float) -> Tensor:
    """``psi_c = g * C * n_c / N + 1 - g`` (RIDE, eq. 3), fp64, (C,)."""
    counts = class_counts.double()
    frequency = len(counts) * counts / counts.sum()
    return class_factor * frequency + 1 - class_factor


def official_temperature(
    class_counts: Tensor, temperature: float, class_factor: float
) -> Tensor:
    """``T_c = T * psi_c / max psi``: the authors' code; fp32, (C,)."""
    psi = relative_frequency(class_counts, class_factor)
    return (temperature * psi / psi.max()).float()


def paper_temperature(
    class_counts: Tensor, temperature: float, class_factor: float
) -> Tensor:
    """``T_c = eta * psi_c + eta * (1 - max psi)``: RIDE, eq. 3; fp32, (C,)."""
    psi = relative_frequency(class_counts, class_factor)
    return (temperature * (psi + 1 - psi.max())).float()


def official_diversity(expert_logits: Tensor, temperature: Tensor | float) -> Tensor:
    """Divergence of each expert from the detached mean, summed over experts.

    ``sum_e mean(T)^2 KL(softmax(mean_logits / T).detach() || softmax(l_e / T))``, mean
    over the batch: the authors' code, ``model/loss.py`` of
    https://github.com/frank-xwang/RIDE-LongTailRecognition.

    Args:
        expert_logits: (E, N, C).
        temperature: Scalar, or (C,) dividing the class axis.

    Returns:
        A scalar.
    """
    batch_size = expert_logits.shape[1]
    log_experts = F.log_softmax(expert_logits / temperature, dim=-1)  # (E, N, C)
    mean_logits = expert_logits.detach().mean(0)
    consensus = F.softmax(mean_logits / temperature, dim=-1)  # (N, C)
    divergence = F.kl_div(
        log_experts, consensus.expand_as(log_experts), reduction='sum'
    )
    if isinstance(temperature, Tensor):
        temperature = temperature.mean()
    return temperature**2 * divergence / batch_size


def paper_diversity(expert_logits: Tensor, temperature: Tensor | float) -> Tensor:
    """Mean divergence of each expert from the others, summed over experts.

    ``sum_e 1/(E-1) sum_{j != e} KL(phi_e || phi_j)`` with phi = softmax(l / T), mean
    over the batch, nothing detached: RIDE, eq. 2 without its factor.

    Args:
        expert_logits: (E, N, C), E >= 2.
        temperature: Scalar, or (C,) dividing the class axis.

    Returns:
        A scalar.
    """
    num_experts, batch_size = expert_logits.shape[:2]
    log_phi = F.log_softmax(expert_logits / temperature, dim=-1)  # (E, N, C)
    # The pair j = e contributes nothing, so the sum may run over all j.
    pairs = num_experts * log_phi - log_phi.sum(0)
    return (log_phi.exp() * pairs).sum() / ((num_experts - 1) * batch_size)


FORMS = {
    'official': (official_diversity, official_temperature),
    'paper': (paper_diversity, paper_temperature),
}


@MODELS.register_module()
class DiversityLoss(ClassCountsMixin, nn.Module):
    """Distribution-aware diversity loss, RIDE (ICLR 2021), eq. 2 and 3.

    The published numbers come from the ``official`` form, which differs from the paper:
    it measures against the detached mean of the experts, multiplies by the squared mean
    temperature, and normalises the class-wise temperature by its maximum.

    Args:
        factor: Factor of the divergence; negative drives the experts apart. The
            authors' values, -0.45 on CIFAR and -0.2 elsewhere, are for the official
            form; the paper's is larger and has no bound.
        form: ``'official'`` or ``'paper'``.
        temperature: Base temperature (``eta`` in the paper).
        class_factor: ``g`` of the class-wise temperature, lower for rare classes (0.05
            on CIFAR, 0.02 on ImageNet-LT, 0.015 on iNaturalist); ``None`` keeps it
            scalar.
        deferred: Whether the temperature becomes class-wise only from the epoch on that
            ``DeferredReweightHook`` names, as in the authors' code.
        class_counts: Training images of each class, (C,); by default handed over by
            ``ClassCountsHook``.
    """

    def __init__(
        self,
        factor: float = -0.2,
        form: Literal['official', 'paper'] = 'official',
        temperature: float = 1.0,
        class_factor: float | None = None,
        deferred: bool = True,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f'form: expected one of {sorted(FORMS)}, got {form!r}')
        if not math.isfinite(factor):
            raise ValueError(f'factor: expected a finite number, got {factor}')
        if not temperature > 0:
            raise ValueError(f'temperature: expected a number > 0, got {temperature}')
        if class_factor is not None and not 0 <= class_factor < 1:
            raise ValueError(
                f'class_factor: expected None or a number in [0, 1), got {class_factor}'
            )
        self.factor = factor
        self.form = form
        self.temperature = temperature
        self.class_factor = class_factor
        self.deferred = class_factor is not None and deferred
        self.class_wise = class_factor is not None and not deferred
        self.init_class_counts(class_counts=class_counts)

    def set_class_counts(self, class_counts: Sequence[int]) -> None:
        """Take the number of training images of each class, (C,).

        Raises:
            ValueError: Also if a class-wise temperature would not be positive, which
                the paper's form allows for extreme imbalance.
        """
        super().set_class_counts(class_counts)
        if self.class_factor is None or not self._counts_known:
            return
        class_temperature = FORMS[self.form][1]
        lowest = class_temperature(
            self.class_counts, self.temperature, self.class_factor
        ).min()
        if not lowest > 0:
            raise ValueError(
                f'class-wise temperature: expected > 0 for every class, got '
                f'{lowest.item():.4g} with class_factor={self.class_factor} in the '
                f'{self.form} form; lower class_factor'
            )

    def set_reweighting(self, active: bool) -> None:
        """Make a deferred class-wise temperature effective; called by the hook."""
        if self.deferred:
            self.class_wise = active

    def current_temperature(self) -> Tensor | float:
        """Scalar, or (C,) once class-wise."""
        if not self.class_wise:
            return self.temperature
        class_temperature = FORMS[self.form][1]
        return class_temperature(
            self.known_class_counts(), self.temperature, self.class_factor
        )

    def forward(self, expert_logits: Tensor) -> Tensor:
        """Loss of expert logits (E, N, C): a scalar, in fp32; zero for one expert."""
        if len(expert_logits) == 1:
            return expert_logits.new_zeros((), dtype=torch.float32)
        divergence = FORMS[self.form][0]
        with full_precision(expert_logits):
            return self.factor * divergence(
                expert_logits.float(), self.current_temperature()
            )
