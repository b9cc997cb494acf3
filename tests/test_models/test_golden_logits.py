"""The networks give the reference's logits on the golden cases."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from official_cases import (
    EXPERTS_ONLY,
    ROUTED,
    case_images,
    load_case,
    load_outputs,
    official_weights,
    relative_error,
)

from ride_mm.apis import convert_official, load_official
from ride_mm.utils import find_config


def assert_logits(model: torch.nn.Module, case: dict) -> None:
    expected = load_outputs(case['name'])
    with torch.no_grad():
        images = case_images(case)
        logits = model(images, mode='tensor')
        expert_logits = model.head.expert_logits(model.extract_feat(images))
    assert relative_error(logits, expected['logits']) < 1e-4
    assert relative_error(expert_logits, expected['expert_logits']) < 1e-4


@pytest.mark.parametrize('name', EXPERTS_ONLY)
def test_logits_equal_the_reference(name: str):
    case = load_case(name)
    model = load_official(official_weights(case))
    count = sum(p.numel() for p in model.parameters())
    assert count == case['num_parameters']
    assert_logits(model, case)


@pytest.mark.parametrize(
    ('name', 'config'),
    [
        ('r32_3e_cifar100', 'ride_r32_cifar100lt'),
        ('r10_2e_imagenet_lt', 'ride_r10_imagenetlt'),
        ('rx50_3e_imagenet_lt', 'ride_rx50_imagenetlt'),
        ('r50_3e_ea_inaturalist', 'ride_r50_inat18_router'),
    ],
)
def test_the_config_s_own_model_gives_the_reference_s_logits(name: str, config: str):
    case = load_case(name)
    config = Config.fromfile(find_config(config))
    config.model.num_experts = case['args']['num_experts']
    model = MODELS.build(config.model)
    _, weights = convert_official(official_weights(case))
    result = model.load_state_dict(weights, strict=False)
    assert result.unexpected_keys == []
    not_stored = ('class_counts', 'threshold_logits')
    assert all(key.endswith(not_stored) for key in result.missing_keys)
    if name in EXPERTS_ONLY:
        assert_logits(model.eval(), case)
    else:
        expected = load_outputs(name)
        with torch.no_grad():
            routed = model.eval().route(case_images(case))
        assert routed.num_experts.tolist() == expected['num_experts'].tolist()
        assert relative_error(routed.logits, expected['logits']) < 1e-4


@pytest.mark.parametrize(
    ('name', 'config'),
    [
        ('r32_3e_cifar100', 'ride_r32_cifar100lt'),
        ('r10_2e_imagenet_lt', 'ride_r10_imagenetlt'),
        ('rx50_3e_imagenet_lt', 'ride_rx50_imagenetlt'),
    ],
)
def test_the_config_normalises_as_the_reference(name: str, config: str):
    case = load_case(name)
    preprocessor = Config.fromfile(find_config(config)).data_preprocessor
    np.testing.assert_allclose(np.array(preprocessor.mean) / 255, case['mean'])
    np.testing.assert_allclose(np.array(preprocessor.std) / 255, case['std'])


@pytest.mark.parametrize('name', ROUTED)
def test_routing_equals_the_reference(name: str):
    case = load_case(name)
    model = load_official(official_weights(case))
    assert model.head.router.top_z == case['args']['top_choices_num']
    assert model.head.pos_weight == case['args']['pos_weight']
    assert sum(p.numel() for p in model.parameters()) == case['num_parameters']
    expected = load_outputs(name)
    images = case_images(case)
    labels = torch.from_numpy(expected['target'])
    samples = [DataSample().set_gt_label(label) for label in labels]
    with torch.no_grad():
        routed = model.route(images)
        features = model.extract_feat(images)
        losses = model.head.loss(features, samples)
    assert routed.num_experts.tolist() == expected['num_experts'].tolist()
    assert relative_error(routed.logits, expected['logits']) < 1e-4
    assert relative_error(model.head(features), expected['train_logits']) < 1e-4
    assert relative_error(losses['loss_router'], expected['router_loss']) < 1e-5
