"""What is particular to the recipes of follow-ups."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from test_configs import learning_rates

from ride_mm.utils import resource_root

ROOT = resource_root() / 'configs/ride'


def load(name: str) -> Config:
    init_default_scope('mmpretrain')
    return Config.fromfile(ROOT / f'{name}.py')


def on_meta(config: dict) -> torch.nn.Module:
    with torch.device('meta'):  # Names and shapes alone.
        return MODELS.build(config)


@pytest.mark.filterwarnings('ignore:for .* copying from a non-meta parameter')
@pytest.mark.parametrize('name', ['ride_r152_placeslt', 'ride_r152_placeslt_teacher'])
def test_pretrained_resnet152_fills_trunk_and_every_expert(name):
    model = on_meta(load(name).model)
    plain = MODELS.build(dict(type='ResNet', depth=152))
    # Raises where shapes differ.
    found = model.backbone.load_state_dict(plain.state_dict(), strict=False)
    assert found.missing_keys == found.unexpected_keys == []
    assert model.num_experts in (3, 6)


def test_the_pretrained_layers_of_places_lt_learn_at_a_tenth_of_the_rate():
    config = load('ride_r152_placeslt')
    model = on_meta(config.model)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {}
    for group in wrapper.optimizer.param_groups:
        assert group['weight_decay'] == 4e-4 and group['nesterov']
        for p in group['params']:
            part = names[id(p)].split('.')[0]
            rates.setdefault(part, set()).add(round(group['lr'], 6))
    assert rates == dict(backbone={0.001}, head={0.01})
    assert all(p.requires_grad for p in model.parameters())


def test_learning_rates_of_places_lt_and_of_its_routers():
    got = learning_rates(load('ride_r152_placeslt'))
    np.testing.assert_allclose(got, [1e-2] * 10 + [1e-3] * 10 + [1e-4] * 10)
    routers = load('ride_r152_placeslt_router')
    expected = [0.01 * (1 + np.cos(np.pi * epoch / 5)) / 2 for epoch in range(5)]
    np.testing.assert_allclose(learning_rates(routers), expected)
    wrapper = build_optim_wrapper(on_meta(routers.model), routers.optim_wrapper)
    assert {group['lr'] for group in wrapper.param_groups} == {0.01}


def test_learning_rates_of_the_long_cifar_schedule():
    config = load('ride_r32_cifar100lt_modern')
    warm_up = [0.01 * (epoch + 1) for epoch in range(10)]
    expected = warm_up + [0.1] * 310 + [0.01] * 40 + [0.001] * 40
    np.testing.assert_allclose(learning_rates(config), expected)
    assert config.default_hooks.reweight.reweight_epoch == 320
