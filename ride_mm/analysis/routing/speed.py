"""How much time routing saves, beside what its multiply-adds promise."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...models.classifiers import RIDEClassifier
from ..complexity import PartCosts
from ..timing import time_in_turns
from .curves import threshold_at

# Half precision of autocast by the name of a precision.
HALF = dict(fp32=None, bf16=torch.bfloat16)


@dataclass(frozen=True)
class RoutingSpeed:
    """One measurement of a batch, with all experts and routed.

    Attributes:
        batch_size: Number of images, N.
        dtype: ``'fp32'`` or ``'bf16'``.
        share: Of the samples that arrive at a router, those wanted to go on, 0 to 1.
        arrived: Samples that arrived at each router, E - 1 of them.
        used: Samples that used 1, 2, ..., E experts.
        seconds_all: Of a call with all experts and no router, median.
        seconds_routed: Of a routed call, median.
        time_ratio: Routed over all experts, the median of the rounds' ratios.
        macs_ratio: The same of the multiply-adds.
        rounds: Number of rounds.
    """

    batch_size: int
    dtype: str
    share: float
    arrived: tuple[int, ...]
    used: tuple[int, ...]
    seconds_all: float
    seconds_routed: float
    time_ratio: float
    macs_ratio: float
    rounds: int

    @property
    def obtained(self) -> float:
        """Share of the decisions that were to go on, 0 to 1."""
        return sum((*self.arrived[1:], self.used[-1])) / sum(self.arrived)

    @property
    def mean_experts(self) -> float:
        """Mean number of experts that a sample used."""
        return sum(k * n for k, n in enumerate(self.used, 1)) / self.batch_size

    @property
    def saved(self) -> float | None:
        """Time saved over multiply-adds saved; None if no multiply-adds are."""
        if self.macs_ratio >= 1:
            return None
        return (1 - self.time_ratio) / (1 - self.macs_ratio)


def whole_samples(batch_size: int, share: float) -> int:
    """Round a share of a batch to samples, half a sample up."""
    return math.floor(batch_size * share + 0.5)


def share_threshold(scores: Tensor, share: float) -> float:
    """Find a threshold that a share of the scores are above.

    Args:
        scores: Of the samples that arrive at a router, (n,), finite.
        share: From 0 to 1; rounded to whole samples.

    Returns:
        The threshold, half way between two scores; infinite if none or all are to be
        above. Of equal scores all or none are: then fewer than wanted.
    """
    ordered = scores.sort(descending=True).values
    return threshold_at(ordered, whole_samples(len(scores), share))


@torch.no_grad()
def set_share(model: RIDEClassifier, images: Tensor, share: float) -> Tensor:
    """Set the thresholds so that a share goes on after each router.

    Args:
        model: With a ``RouterHead``, whose thresholds are overwritten.
        images: The batch that this is to hold for, (N, 3, H, W).
        share: Of the samples that arrive at a router, 0 to 1.

    Returns:
        Number of experts that each sample now uses, (N,).
    """
    head = model.head
    keep, head.keep_expert_logits = head.keep_expert_logits, True
    head.threshold_logits.fill_(torch.inf)
    try:
        for i in range(len(head.threshold_logits)):
            scores = model.route(images).router_scores[:, i]
            arrived = scores[~scores.isnan()]
            if len(arrived) == 0:
                break
            head.threshold_logits[i] = share_threshold(arrived, share)
        return model.route(images).num_experts
    finally:
        head.keep_expert_logits = keep


def measure(
    model: RIDEClassifier,
    images: Tensor,
    share: float,
    dtype: str,
    seconds: float,
    costs: PartCosts,
) -> RoutingSpeed:
    """Time a batch with all experts and routed, in turns.

    As ``tools/test.py`` does, but for the logits only: without gradients, under
    autocast from the images to the logits of a batch.

    Args:
        model: In eval mode, with a ``RouterHead``, whose thresholds are overwritten.
        images: (N, 3, H, W), on the model's device.
        share: Of the samples that arrive at a router, those to go on, 0 to 1.
        dtype: ``'fp32'`` or ``'bf16'``.
        seconds: How long to measure, at least.
        costs: Multiply-adds of the model's parts.
    """
    device = images.device

    def autocast() -> torch.autocast:
        half = HALF[dtype]
        return torch.autocast(device.type, half, enabled=half is not None)

    def all_experts() -> Tensor:
        with torch.no_grad(), autocast():
            return model.head(model.extract_feat(images))

    def routed() -> Tensor:
        with torch.no_grad(), autocast():
            return model(images)

    with autocast():
        experts = set_share(model, images, share)
    num_experts = model.num_experts
    used = torch.bincount(experts, minlength=num_experts + 1)[1:].tolist()
    rounds = time_in_turns((all_experts, routed), seconds, device)
    return RoutingSpeed(
        batch_size=len(images),
        dtype=dtype,
        share=share,
        arrived=tuple(sum(used[i:]) for i in range(num_experts - 1)),
        used=tuple(used),
        seconds_all=statistics.median(first for first, _ in rounds),
        seconds_routed=statistics.median(second for _, second in rounds),
        time_ratio=statistics.median(second / first for first, second in rounds),
        macs_ratio=costs.mean(used) / costs.all_experts,
        rounds=len(rounds),
    )


@torch.no_grad()
def images_per_second(
    models: Sequence[nn.Module], images: Tensor, seconds: float
) -> list[float]:
    """Measure how fast models are on the same batch, in turns.

    Args:
        models: Classifiers in eval mode.
        images: Preprocessed, (N, 3, H, W), on the models' device.
        seconds: How long to measure, at least, all together.

    Returns:
        Images per second of each model, the median of the rounds.
    """
    functions = [lambda model=model: model(images) for model in models]
    rounds = time_in_turns(functions, seconds, images.device)
    return [len(images) / statistics.median(r) for r in zip(*rounds, strict=True)]
