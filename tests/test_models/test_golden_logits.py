"""The networks give the reference's logits on the golden cases."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import state_dict, tensor
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ride_mm.utils import find_config

DATA = Path(__file__).parent.parent / 'data/ride'


def our_key(official: str) -> str:
    """The name in a RIDEClassifier of a tensor of the authors' network."""
    key = official.removeprefix('backbone.')
    if match := re.match(r'layer(\d)s\.(\d+)\.(.*)', key):
        stage, expert, rest = match.groups()
        return f'backbone.experts.{expert}.layer{stage}.{rest}'
    if match := re.match(r'linears\.(.*)', key):
        return f'head.classifiers.{match[1]}'
    if match := re.match(r'expert_help_pred_hidden_fcs\.(.*)', key):
        return f'head.router.hidden.{match[1]}'
    if match := re.match(r'expert_help_pred_fc\.(.*)', key):
        return f'head.router.output.0.{match[1]}'
    return f'backbone.{key}'


def build_case(case: dict, backbone: dict, **head) -> torch.nn.Module:
    args = case['args']
    head = dict(type='MultiExpertHead', num_classes=args['num_classes']) | head
    model = MODELS.build(
        dict(
            type='RIDEClassifier',
            num_experts=args['num_experts'],
            backbone=backbone,
            neck=dict(type='GlobalAveragePooling'),
            head=head,
        )
    )
    load_case(model, case)
    return model


def load_case(model: torch.nn.Module, case: dict) -> None:
    weights = {
        our_key(name): torch.as_tensor(value)
        for name, value in state_dict(case['parameters']).items()
    }
    result = model.load_state_dict(weights, strict=False)
    assert result.unexpected_keys == []
    not_stored = ('class_counts', 'threshold_logits')
    assert [k for k in result.missing_keys if not k.endswith(not_stored)] == []
    model.eval()


def case_images(case: dict) -> torch.Tensor:
    images = tensor(case['name'] + '/input', case['input'], 'images')
    mean = np.array(case['mean'], dtype=np.float32)[:, None, None]
    std = np.array(case['std'], dtype=np.float32)[:, None, None]
    return torch.from_numpy((images / 255 - mean) / std)


def relative_error(got: torch.Tensor, expected: np.ndarray) -> float:
    return np.abs(got.numpy() - expected).max() / np.abs(expected).max()


def assert_logits(model: torch.nn.Module, case: dict) -> None:
    expected = np.load(DATA / f'{case["name"]}.npz')
    with torch.no_grad():
        images = case_images(case)
        logits = model(images, mode='tensor')
        expert_logits = model.head.expert_logits(model.extract_feat(images))
    assert relative_error(logits, expected['logits']) < 1e-4
    assert relative_error(expert_logits, expected['expert_logits']) < 1e-4


@pytest.mark.parametrize(
    ('name', 'backbone'),
    [
        ('r32_3e_cifar100', dict(type='RIDEResNetCIFAR', depth=32)),
        ('r10_2e_imagenet_lt', dict(type='RIDEResNet', depth=10)),
        (
            'rx50_3e_imagenet_lt',
            dict(type='RIDEResNet', depth=50, groups=32, width_per_group=4),
        ),
    ],
)
def test_logits_equal_the_reference(name: str, backbone: dict):
    case = json.loads((DATA / f'{name}.json').read_text())
    model = build_case(case, backbone)
    count = sum(p.numel() for p in model.parameters())
    assert count == case['num_parameters']
    assert_logits(model, case)


def test_the_config_s_own_model_gives_the_reference_s_logits():
    case = json.loads((DATA / 'r32_3e_cifar100.json').read_text())
    config = Config.fromfile(find_config('ride_r32_cifar100lt'))
    model = MODELS.build(config.model)
    load_case(model, case)
    assert_logits(model, case)
    preprocessor = config.data_preprocessor
    np.testing.assert_allclose(np.array(preprocessor.mean) / 255, case['mean'])
    np.testing.assert_allclose(np.array(preprocessor.std) / 255, case['std'])


@pytest.mark.parametrize(
    ('name', 'backbone'),
    [
        ('r32_4e_ea_cifar100', dict(type='RIDEResNetCIFAR', depth=32)),
        ('r32_5e_ea_stops', dict(type='RIDEResNetCIFAR', depth=32)),
        ('r50_3e_ea_inaturalist', dict(type='RIDEResNet', depth=50)),
    ],
)
def test_routing_equals_the_reference(name: str, backbone: dict):
    case = json.loads((DATA / f'{name}.json').read_text())
    args = case['args']
    head = dict(top_z=args['top_choices_num'], pos_weight=args['pos_weight'])
    model = build_case(case, backbone, type='RouterHead', **head)
    assert sum(p.numel() for p in model.parameters()) == case['num_parameters']
    expected = np.load(DATA / f'{name}.npz')
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
