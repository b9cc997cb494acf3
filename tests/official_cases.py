"""The authors' networks of the golden cases: weights, files, images, outputs."""

import json
import pathlib
import sys
import types
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from golden import state_dict, tensor
from mmpretrain.registry import MODELS

from ride_mm.apis.official_names import official_names
from ride_mm.apis.official_network import OfficialNetwork

DATA = Path(__file__).parent / 'data/ride'
EXPERTS_ONLY = ('r32_3e_cifar100', 'r10_2e_imagenet_lt', 'rx50_3e_imagenet_lt')
ROUTED = ('r32_4e_ea_cifar100', 'r32_5e_ea_stops', 'r50_3e_ea_inaturalist')


def load_case(name: str) -> dict:
    return json.loads((DATA / f'{name}.json').read_text())


def load_outputs(name: str) -> Mapping[str, np.ndarray]:
    return np.load(DATA / f'{name}.npz')


def official_weights(case: dict) -> dict[str, torch.Tensor]:
    """The weights under the authors' names."""
    drawn = state_dict(case['parameters'])
    return {name: torch.as_tensor(value) for name, value in drawn.items()}


def case_images(case: dict) -> torch.Tensor:
    images = tensor(case['name'] + '/input', case['input'], 'images')
    mean = np.array(case['mean'], dtype=np.float32)[:, None, None]
    std = np.array(case['std'], dtype=np.float32)[:, None, None]
    return torch.from_numpy((images / 255 - mean) / std)


def relative_error(got: torch.Tensor, expected: np.ndarray) -> float:
    return np.abs(got.numpy() - expected).max() / np.abs(expected).max()


def shapes_of(network: OfficialNetwork) -> dict[str, torch.Tensor]:
    """Weights of a network under the authors' names, without numbers."""
    with torch.device('meta'):
        model = MODELS.build(network.model())
    own = model.state_dict()
    names = official_names(own, network)
    return {f'backbone.{theirs}': own[ours] for theirs, ours in names.items()}


def random_weights(network: OfficialNetwork) -> dict[str, torch.Tensor]:
    stream = torch.Generator().manual_seed(0)

    def draw(name: str, like: torch.Tensor) -> torch.Tensor:
        if not like.dtype.is_floating_point:
            return torch.zeros(like.shape, dtype=like.dtype)
        numbers = torch.randn(like.shape, generator=stream) / 4
        return numbers.abs() + 0.5 if name.endswith('running_var') else numbers

    return {name: draw(name, like) for name, like in shapes_of(network).items()}


def save_as_authors(
    path: Path, weights: Mapping[str, torch.Tensor], legacy: bool = False
) -> Path:
    """Write a file as the authors' trainer does, with an object of its package.

    The package is gone afterwards, as it is where the file is read.
    """
    package = types.ModuleType('parse_config')

    class ConfigParser:
        def __init__(self) -> None:
            self._config = OrderedDict(arch={'type': 'Net', 'args': {}}, n_gpu=1)
            self._save_dir = pathlib.PurePosixPath('saved/models')
            self.log_levels = {0: 30, 1: 20, 2: 10}

    ConfigParser.__module__ = 'parse_config'
    ConfigParser.__qualname__ = 'ConfigParser'
    package.ConfigParser = ConfigParser
    content = {
        'arch': 'TestNetModel',
        'epoch': 7,
        'state_dict': OrderedDict(weights),
        'optimizer': {'state': {0: {'momentum_buffer': torch.ones(3)}}},
        'monitor_best': np.float64(0.5),
        'config': ConfigParser(),
    }
    sys.modules['parse_config'] = package
    try:
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    finally:
        del sys.modules['parse_config']
    return path
