"""A step of training in three parts, and the time of each."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from torch import Tensor, nn

PARTS = ('forward', 'backward', 'optimizer')


@dataclass(frozen=True)
class TrainingStep:
    """A step of training on one batch.

    Attributes:
        forward: Computes the loss, a scalar.
        backward: Computes the gradients of a loss.
        update: Lets the optimizer step, and forgets the gradients.
    """

    forward: Callable[[], Tensor]
    backward: Callable[[Tensor], None]
    update: Callable[[], None]

    def __call__(self) -> Tensor:
        """Do all three; returns the loss."""
        loss = self.forward()
        self.backward(loss)
        self.update()
        return loss


def model_step(
    model: nn.Module,
    optim_wrapper: OptimWrapper,
    images: Tensor,
    data_samples: Sequence[DataSample],
) -> TrainingStep:
    """Make the step of a model of MMPretrain, as a bare loop would do it.

    Args:
        model: A classifier in training mode.
        optim_wrapper: Of its parameters.
        images: Preprocessed, (N, 3, H, W).
        data_samples: Their labels.
    """

    def forward() -> Tensor:
        with optim_wrapper.optim_context(model):
            return model.parse_losses(model(images, data_samples, mode='loss'))[0]

    def backward(loss: Tensor) -> None:
        optim_wrapper.backward(optim_wrapper.scale_loss(loss))

    def update() -> None:
        optim_wrapper.step()
        optim_wrapper.zero_grad()

    return TrainingStep(forward, backward, update)


def time_parts(
    step: TrainingStep, rounds: int, device: torch.device
) -> dict[str, float]:
    """Time the parts of a step one by one.

    Args:
        step: The step.
        rounds: How many to do, >= 1.
        device: Where it computes; a GPU is waited for after each part.

    Returns:
        Seconds of each of ``PARTS``, the median over the rounds.
    """

    def now() -> float:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        return time.perf_counter()

    rows = []
    for _ in range(rounds):
        start = now()
        loss = step.forward()
        computed = now()
        step.backward(loss)
        differentiated = now()
        step.update()
        rows.append(
            (computed - start, differentiated - computed, now() - differentiated)
        )
    medians = (statistics.median(times) for times in zip(*rows, strict=True))
    return dict(zip(PARTS, medians, strict=True))
