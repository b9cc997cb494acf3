"""The stored outputs of the original V-MoE, and our networks with its parameters."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

import ride_mm  # noqa: F401  (registers the models)
from ride_mm.apis.vmoe_names import ride_mm_state

DATA = Path(__file__).parent / 'data/vmoe'
# Another case with the same parameters and images.
SAME_AS = {'c_vanilla': 'c'}


class Case:
    """A stored case: parameters, images and what the original made of them."""

    def __init__(self, name: str) -> None:
        with np.load(DATA / f'{name}.npz') as arrays:
            self.arrays = dict(arrays)
        if name in SAME_AS:
            with np.load(DATA / f'{SAME_AS[name]}.npz') as arrays:
                kept = {
                    k: v
                    for k, v in arrays.items()
                    if k.startswith(('params/', 'input'))
                }
            self.arrays.update(kept)
        meta = json.loads(bytes(self.arrays.pop('meta_json')))
        self.config = meta['config']
        self.training = not meta['deterministic']

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays whose name begins so, without the beginning."""
        return {
            name.removeprefix(prefix): array
            for name, array in self.arrays.items()
            if name.startswith(prefix)
        }

    @property
    def images(self) -> Tensor:
        """(N, 3, H, W), already in [-1, 1]."""
        return self['input'].permute(0, 3, 1, 2).contiguous()

    @property
    def blocks(self) -> list[int]:
        return self.config['encoder']['moe']['layers']

    def model(self) -> nn.Module:
        """Our network with the case's parameters, in the case's mode."""
        model = build(self.config, self.images.shape[-1])
        model.load_state_dict(ride_mm_state(self.part('params/')), strict=True)
        return model.train(self.training)


def trees() -> dict[str, dict]:
    """Parameter names and shapes of the original's networks, with their settings."""
    return json.loads(gzip.decompress((DATA / 'trees.json.gz').read_bytes()))


def capacities() -> list[dict[str, str]]:
    """Rows of the original's capacities."""
    with open(DATA / 'capacity.csv', newline='') as file:
        return list(csv.DictReader(file))


def model_config(config: dict, image_size: int) -> dict:
    """Our config of a network by the original's settings.

    Args:
        config: The original's.
        image_size: Height and width.
    """
    encoder, pool = config['encoder'], config['classifier']
    moe, size = encoder['moe'], config['patch_size'][0]
    tokens = (image_size // size) ** 2 + (pool == 'token')
    router = moe['router']
    dispatcher = router['dispatcher']
    return dict(
        type='VMoEClassifier',
        backbone=dict(
            type='VMoE',
            arch=dict(
                embed_dims=config['hidden_size'],
                num_layers=encoder['num_layers'],
                num_heads=encoder['num_heads'],
                feedforward_channels=encoder['mlp_dim'],
            ),
            img_size=image_size,
            patch_size=size,
            pool=pool,
            moe=dict(
                blocks=moe['layers'],
                num_experts=moe['num_experts'],
                images_per_group=max(1, moe['group_size'] // tokens),
                drop_rate=moe['dropout_rate'],
                router=dict(
                    type='NoisyTopKRouter',
                    num_selected=router['num_selected_experts'],
                    noise_std=router['noise_std'],
                    importance_weight=router['importance_loss_weight'],
                    load_weight=router['load_loss_weight'],
                    gshard_weight=router.get('gshard_loss_weight', 0.0),
                    capacity_factor=dispatcher['capacity_factor'],
                    batch_priority=dispatcher['batch_priority'],
                ),
            ),
        ),
        head=dict(
            type='VisionTransformerClsHead',
            num_classes=config['num_classes'],
            in_channels=config['hidden_size'],
            hidden_dim=config['representation_size'],
            loss=dict(type='CrossEntropyLoss'),
        ),
    )


def build(config: dict, image_size: int) -> nn.Module:
    """Our network by the original's settings."""
    return MODELS.build(model_config(config, image_size))
