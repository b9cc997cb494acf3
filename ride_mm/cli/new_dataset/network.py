"""The network for images of a size on a machine, and what it takes in training."""

import math
from dataclasses import dataclass

import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

from .machine import Machine

SIZES = (32, 64, 128, 224)
# An image may be enlarged by this factor, not by more.
ENLARGED = 1.25
LARGEST_SIZE_ON_CPU = 128
# Up to this size the network keeps the resolution of the images in its first layers.
LARGEST_SMALL = 64
# Images, from which on a deeper network is worth its cost.
MANY_SMALL, MANY_LARGE = 2000, 5000
SMALL_GPU = 6 * 2**30
# Memory that may be planned with, the rest is for the system and for peaks.
SHARE = 0.6
# Bytes of an activation, and those of gradients and copies beside it.
BYTES = 4 * 1.5
# Batches: not larger than usual, and with enough steps, though not of too few images.
LARGEST_ON_GPU, LARGEST_ON_CPU, FEWEST = 256, 128, 16
STEPS_PER_EPOCH = 10


@dataclass(frozen=True)
class Choice:
    """A setting and why it was chosen."""

    value: int
    reason: str


def choose_image_size(short_side: float, machine: Machine) -> Choice:
    """Choose the size that images are brought to.

    Args:
        short_side: Median of the shorter sides of the images in pixels.
        machine: Without a GPU large images are made smaller.
    """
    fitting = [size for size in SIZES if size <= ENLARGED * short_side]
    size = max(fitting, default=SIZES[0])
    reason = f'the shorter side of the images is {short_side:g} pixels (median)'
    if machine.gpu is None and size > LARGEST_SIZE_ON_CPU:
        size = LARGEST_SIZE_ON_CPU
        reason = 'there is no GPU; 224 would take three times as long'
    return Choice(size, reason)


def choose_depth(image_size: int, images: int, machine: Machine) -> Choice:
    """Choose the depth of the ResNet, one for CIFAR where the images are small.

    Args:
        image_size: In pixels.
        images: Training images.
        machine: Without a GPU, or with a small one, the network is smaller.
    """
    if image_size <= LARGEST_SMALL:
        if machine.gpu is None:
            return Choice(20, 'small images, no GPU')
        if images < MANY_SMALL:
            return Choice(20, f'small images, fewer than {MANY_SMALL:,}')
        return Choice(32, f'small images, {MANY_SMALL:,} or more')
    if machine.gpu is None:
        return Choice(10, 'there is no GPU')
    if images < MANY_LARGE:
        return Choice(18, f'fewer than {MANY_LARGE:,} training images')
    if machine.gpu_memory < SMALL_GPU:
        return Choice(18, 'the GPU has little memory')
    return Choice(50, f'{MANY_LARGE:,} training images or more')


def choose_batch_size(images: int, bytes_per_image: int, machine: Machine) -> Choice:
    """Choose a power of two that the memory allows and that leaves steps enough.

    Args:
        images: Training images.
        bytes_per_image: Of :func:`training_bytes`.
        machine: Whose memory counts, of the GPU if there is one.
    """
    memory = machine.gpu_memory if machine.gpu else machine.memory
    allowed = int(SHARE * memory / bytes_per_image)
    usual = LARGEST_ON_GPU if machine.gpu else LARGEST_ON_CPU
    by_steps = max(FEWEST, images // STEPS_PER_EPOCH)
    # BatchNorm needs two images.
    size = 2 ** int(math.log2(max(2, min(usual, by_steps, allowed))))
    if by_steps <= min(usual, allowed):
        return Choice(size, f'an epoch has {math.ceil(images / size):,} steps')
    if allowed < usual:
        where = 'GPU' if machine.gpu else 'main'
        return Choice(size, f'what the {where} memory holds, by estimate')
    return Choice(size, 'more would not train better')


def choose_workers(machine: Machine) -> int:
    """Processes that load images; without a GPU the network needs the cores itself."""
    return min(8, machine.cores) if machine.gpu else min(2, machine.cores)


@torch.no_grad()
def training_bytes(model: dict, image_size: int) -> int:
    """Estimate the memory that one image takes in training.

    The outputs of all layers are kept for the gradient; half of that comes on top, for
    gradients and what libraries need.

    Args:
        model: Config of a model.
        image_size: In pixels.

    Returns:
        Bytes.
    """
    numbers: list[int] = []

    def note(module: nn.Module, inputs: tuple, output: object) -> None:
        if isinstance(output, torch.Tensor):
            numbers.append(output.numel())

    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmpretrain'):
        network = MODELS.build(model).eval()
        for module in network.modules():
            in_place = getattr(module, 'inplace', False)  # Takes no memory of its own.
            if not in_place and not any(True for _ in module.children()):
                module.register_forward_hook(note)
        network(torch.empty(1, 3, image_size, image_size), mode='tensor')
    return int(BYTES * sum(numbers))
