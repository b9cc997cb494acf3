"""Backbones with a shared trunk and several experts."""

from .expert_backbone import ExpertBackbone
from .multi_expert_backbone import MultiExpertBackbone
from .ride_resnet import RIDEResNet
from .ride_resnet_cifar import RIDEResNetCIFAR
from .vmoe import VMoE

__all__ = [
    'ExpertBackbone',
    'MultiExpertBackbone',
    'RIDEResNet',
    'RIDEResNetCIFAR',
    'VMoE',
]
