"""What is proposed for a data set on a machine."""

import argparse
import math
from dataclasses import dataclass

import numpy as np

from ...utils.shots import SHOT_GROUPS, shot_groups
from .looks import Looks
from .machine import Machine
from .network import (
    LARGEST_SMALL,
    Choice,
    choose_batch_size,
    choose_depth,
    choose_image_size,
    choose_workers,
    training_bytes,
)
from .source import Source

MANY, FEW = 100, 20
# Steps of the optimizer, and the epochs that they are held within.
STEPS_ON_GPU, EPOCHS_ON_GPU = 40_000, (30, 200)
STEPS_ON_CPU, EPOCHS_ON_CPU = 3_000, (10, 60)
ROUTER_STEPS, ROUTER_EPOCHS = 100, (5, 20)
EXPERTS = 3


@dataclass(frozen=True)
class Proposal:
    """Settings of both stages.

    Attributes:
        num_classes: Number of classes, C.
        images: Training images.
        image_size: Of the images in the network, in pixels.
        depth: Of the ResNet.
        experts: Number of experts, E.
        batch_size: Of training.
        workers: Processes that load images.
        epochs: Of stage one.
        router_epochs: Of stage two.
        many: A class with more training images is many-shot.
        few: A class with fewer training images is few-shot.
        reasons: Why, by the name of the setting.
    """

    num_classes: int
    images: int
    image_size: int
    depth: int
    experts: int
    batch_size: int
    workers: int
    epochs: int
    router_epochs: int
    many: int
    few: int
    reasons: dict[str, str]

    @property
    def small(self) -> bool:
        """Whether the network is one for small images."""
        return self.image_size <= LARGEST_SMALL

    @property
    def steps(self) -> int:
        """Steps of the optimizer in stage one."""
        return self.epochs * math.ceil(self.images / self.batch_size)


def propose(
    source: Source, looks: Looks, machine: Machine, args: argparse.Namespace
) -> Proposal:
    """Propose settings; those that the user gives are taken.

    Args:
        source: Split into parts.
        looks: Of its images.
        machine: That trains.
        args: With ``image_size``, ``experts``, ``epochs`` and ``batch_size``, None
            where nothing is given.
    """
    counts = source.counts('train')
    images, classes = sum(counts), len(source.classes)
    size = _given(args.image_size) or choose_image_size(looks.short_side, machine)
    depth = choose_depth(size.value, images, machine)
    experts = _given(args.experts) or Choice(EXPERTS, 'as the paper')
    model = model_of(size.value <= LARGEST_SMALL, depth.value, experts.value, classes)
    batch = _given(args.batch_size) or choose_batch_size(
        images, training_bytes(model, size.value), machine
    )
    epochs = _given(args.epochs) or choose_epochs(images, batch.value, machine)
    many, few, why = choose_thresholds(counts)
    return Proposal(
        num_classes=classes,
        images=images,
        image_size=size.value,
        depth=depth.value,
        experts=experts.value,
        batch_size=batch.value,
        workers=choose_workers(machine),
        epochs=epochs.value,
        router_epochs=router_epochs(images, batch.value),
        many=many,
        few=few,
        reasons=dict(
            image_size=size.reason,
            depth=depth.reason,
            experts=experts.reason,
            batch_size=batch.reason,
            epochs=epochs.reason,
            thresholds=why,
        ),
    )


def _given(value: int | None) -> Choice | None:
    return None if value is None else Choice(value, 'as you say')


def model_of(small: bool, depth: int, experts: int, classes: int) -> dict:
    """The model's config without its losses."""
    return dict(
        type='RIDEClassifier',
        num_experts=experts,
        backbone=dict(
            type='RIDEResNetCIFAR' if small else 'RIDEResNet',
            depth=depth,
            expert_width=expert_width(experts),
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='MultiExpertHead', num_classes=classes, classifier='cosine'),
    )


def expert_width(experts: int) -> float:
    """Width of an expert: the paper's 3/4, but a single one is the plain network."""
    return 1.0 if experts == 1 else 0.75


def choose_epochs(images: int, batch_size: int, machine: Machine) -> Choice:
    """Choose epochs so that the optimizer takes a sensible number of steps.

    Args:
        images: Training images.
        batch_size: Of training.
        machine: Without a GPU the training is shorter.
    """
    on_gpu = machine.gpu is not None
    steps = STEPS_ON_GPU if on_gpu else STEPS_ON_CPU
    least, most = EPOCHS_ON_GPU if on_gpu else EPOCHS_ON_CPU
    per_epoch = math.ceil(images / batch_size)
    epochs = _within(steps / per_epoch, least, most)
    reason = f'{epochs * per_epoch:,} steps'
    if epochs == least:
        reason += ', no fewer epochs'
    elif epochs == most:
        reason += ', no more epochs'
    return Choice(epochs, reason if on_gpu else f'{reason}; short, for there is no GPU')


def router_epochs(images: int, batch_size: int) -> int:
    """Epochs of the routers: the paper's five, more where these are few steps."""
    return _within(ROUTER_STEPS / math.ceil(images / batch_size), *ROUTER_EPOCHS)


def _within(value: float, least: int, most: int) -> int:
    return int(min(most, max(least, round(value))))


def choose_thresholds(counts: list[int]) -> tuple[int, int, str]:
    """Choose what many-shot and few-shot classes are.

    The field's 100 and 20 stay if they tell classes apart. Else the third of the
    classes with most images are many-shot and the third with fewest few-shot.

    Args:
        counts: Training images of each class, (C,).

    Returns:
        The thresholds of :func:`~ride_mm.utils.shots.shot_groups`, and why.
    """
    groups = shot_groups(counts, MANY, FEW)
    filled = [name for name in SHOT_GROUPS if len(groups[name])]
    if len(filled) > 1:
        return MANY, FEW, 'as in the field'
    if min(counts) == max(counts):
        return MANY, FEW, 'all classes have the same number'
    ordered = np.sort(counts)
    third = max(1, len(ordered) // 3)
    # Between the values, so that the outer thirds are in the outer groups.
    few, many = int(ordered[third - 1]) + 1, int(ordered[-third]) - 1
    few = min(few, many + 1)
    return many, few, f'with {MANY} and {FEW} all classes would be {filled[0]}-shot'
