"""Multiply-adds: closed forms, the authors' figures, parts that sum to the whole."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmpretrain.registry import MODELS
from torch import nn

from ride_mm.analysis import (
    PartCosts,
    model_complexity,
    part_costs,
    part_parameters,
    plain_complexity,
    plain_model,
)
from ride_mm.models.backbones import ExpertBackbone, RIDEResNetCIFAR

R32 = dict(type='RIDEResNetCIFAR', depth=32)
R10, R50 = (dict(type='RIDEResNet', depth=depth) for depth in (10, 50))
X50 = dict(R50, groups=32)
# Of the 3-expert model of which the authors published it, for 1, 2, 3 experts.
USAGE = (40.99, 9.47, 49.54)


@MODELS.register_module(force=True)
class ComplexityTestBackbone(ExpertBackbone):
    """A matrix for the trunk and one per expert, without a width to set."""

    out_channels = 5

    def __init__(self, num_experts: int) -> None:
        super().__init__(num_experts, ('layer',))
        self.trunk = nn.Linear(3 * 4 * 4, 7, bias=False)
        self.experts = nn.ModuleList(nn.Linear(7, 5) for _ in range(num_experts))

    def forward_trunk(self, x):
        return self.trunk(x.flatten(1))

    def forward_expert(self, trunk, e):
        return self.experts[e](trunk)

    def stages(self):
        return []


def model_config(backbone=None, num_experts=3, width=None, classes=100, **head):
    backbone = dict(
        backbone or R32, **({} if width is None else {'expert_width': width})
    )
    return dict(
        type='RIDEClassifier',
        num_experts=num_experts,
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(dict(type='MultiExpertHead', num_classes=classes), **head),
    )


def router_config(num_experts=3, **kwargs):
    return model_config(
        **dict(dict(num_experts=num_experts, type='RouterHead', top_z=30), **kwargs)
    )


@pytest.mark.parametrize('training', [True, False])
def test_counts_have_the_closed_form(training):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10),
    ).train(training)
    mean = model[1].running_mean.clone()
    parameters, macs = model_complexity(model, (3, 4, 4))
    assert parameters == 8 * 3 * 9 + 2 * 8 + 10 * 8 * 16 + 10
    assert macs == 16 * 8 * 3 * 9 + 10 * 8 * 16
    assert model.training == training
    assert torch.equal(model[1].running_mean, mean)


class Attention(nn.Module):
    """Both ways that attention is written, fused kernels for each."""

    def __init__(self, layer: bool) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.fused = layer

    def forward(self, x):
        x = x.flatten(1).reshape(1, 10, 32)
        if self.fused:
            return self.layer(x)
        heads = x.reshape(1, 10, 4, 8).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads)


def test_attention_counts_as_the_matrix_products_that_it_is():
    scores = 2 * 10 * 10 * 32
    projections = 10 * 32 * (4 * 32 + 2 * 64)
    fast = torch.backends.mha.get_fastpath_enabled()
    assert model_complexity(Attention(False), (2, 16, 10))[1] == scores
    assert model_complexity(Attention(True), (2, 16, 10))[1] == scores + projections
    assert torch.backends.mha.get_fastpath_enabled() == fast


@pytest.mark.parametrize(
    ('backbone', 'num_experts', 'width', 'millions'),
    [
        (R32, 1, 1.0, '68.87'),
        (R32, 2, 0.75, '74.92'),
        (R32, 3, 0.75, '100.36'),
        (R32, 4, 0.75, '125.80'),
        (R32, 6, 0.75, '176.68'),
        (R10, 1, 1.0, '889'),
        (R10, 2, 0.75, '959'),
        (R10, 3, 0.75, '1173'),
        (R10, 4, 0.75, '1388'),
        (R50, 1, 1.0, '4089'),
        (R50, 3, 0.75, '5770'),
        (X50, 3, 0.75, '6050'),
    ],
)
def test_figures_of_the_paper(backbone, num_experts, width, millions):
    classes, side = (100, 32) if backbone is R32 else (1000, 224)
    model = MODELS.build(model_config(backbone, num_experts, width, classes))
    macs = model_complexity(model, (3, side, side))[1]
    decimals = len(millions.partition('.')[2])
    assert f'{macs / 1e6:.{decimals}f}' == millions


@pytest.mark.parametrize('classifier', ['cosine', 'linear'])
@pytest.mark.parametrize('num_experts', [1, 2, 3])
def test_parts_sum_to_the_whole(num_experts, classifier):
    shape = 3, 16, 16
    config = model_config(num_experts=num_experts, classifier=classifier)
    model = MODELS.build(config)
    parameters, macs = model_complexity(model, shape)
    costs, sizes = part_costs(model, shape), part_parameters(model, shape)
    assert costs.all_experts == costs.of_experts_used()[-1] == macs
    assert sizes.all_experts == parameters
    assert len(costs.experts) == num_experts and costs.routers == ()
    assert len(set(costs.experts)) == 1 < costs.experts[0]


@pytest.mark.parametrize('shared', [True, False])
@pytest.mark.parametrize('num_experts', [2, 3])
def test_routers_add_their_matrices(num_experts, shared):
    shape, depth, z, hidden = (3, 16, 16), 48, 30, 16
    routed = MODELS.build(router_config(num_experts, shared=shared))
    plain = part_costs(MODELS.build(model_config(num_experts=num_experts)), shape)
    costs, sizes = part_costs(routed, shape), part_parameters(routed, shape)
    macs = depth * hidden + (z + hidden)
    assert costs == PartCosts(plain.trunk, plain.experts, (macs,) * (num_experts - 1))
    own, output = depth * hidden + hidden, z + hidden + 1
    later = own if shared else own + output
    assert sizes.routers == (own + output, *[later] * (num_experts - 2))
    parameters, most = model_complexity(routed, shape)
    assert most == costs.of_experts_used()[-1] == plain.all_experts + sum(costs.routers)
    assert sizes.of_experts_used()[-1] == parameters


def test_a_backbone_of_any_kind():
    config = model_config(dict(type='ComplexityTestBackbone'), 2, classes=11)
    config['neck'] = None
    model = MODELS.build(config)
    expert = 7 * 5 + 5 * 11
    assert part_costs(model, (3, 4, 4)) == PartCosts(48 * 7, (expert, expert))
    sizes = part_parameters(model, (3, 4, 4))
    assert sizes == PartCosts(48 * 7, (expert + 5, expert + 5))
    assert plain_complexity(config, (3, 4, 4)) == (48 * 7 + expert + 5, 48 * 7 + expert)


def test_the_cost_of_the_experts_used():
    costs = PartCosts(100, (10, 20, 30), (1, 2))
    assert costs.all_experts == 160
    np.testing.assert_array_equal(costs.of_experts_used(), [111, 133, 163])
    assert costs.mean([0.5, 0.25, 0.25]) == 111 / 2 + 133 / 4 + 163 / 4
    assert costs.mean([4, 2, 2]) == costs.mean([50, 25, 25]) == costs.mean([2, 1, 1])
    unrouted = PartCosts(100, (10, 20, 30))
    np.testing.assert_array_equal(unrouted.of_experts_used(), [110, 130, 160])


@pytest.mark.parametrize(
    ('shares', 'message'),
    [
        ([1, 0], 'expected 3, one for each number of experts, got shape'),
        ([0, 0, 0], 'one of them above'),
        ([1, -1, 2], 'expected numbers >= 0'),
        ([1, np.nan, 2], 'expected numbers >= 0'),
    ],
)
def test_shares_that_are_none_are_refused(shares, message):
    with pytest.raises(ValueError, match=message):
        PartCosts(100, (10, 20, 30)).mean(shares)


def test_costs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='expected none, or 2 for 3 experts, got 1'):
        PartCosts(1, (1, 1, 1), (1,))
    with pytest.raises(ValueError, match='at least one, got none'):
        PartCosts(1, ())
    with pytest.raises(TypeError, match='RIDEClassifier with a head, .* got Linear'):
        part_costs(nn.Linear(2, 2), (3, 4, 4))


def test_the_published_usage_has_the_published_relative_cost():
    """RIDE's 3 experts with routers cost 1.1 times the plain network."""
    config = router_config(width=0.75)
    costs = part_costs(MODELS.build(config), (3, 32, 32))
    plain = plain_complexity(config, (3, 32, 32))[1]
    assert plain == 68_868_352
    one, two, three = costs.of_experts_used() / plain
    expected = 0.4099 * one + 0.0947 * two + 0.4954 * three
    assert costs.mean(USAGE) / plain == pytest.approx(expected)
    assert f'{costs.mean(USAGE) / plain:.1f}' == '1.1'


@pytest.mark.parametrize('training', [True, False])
def test_measuring_leaves_the_model_as_it_was(training):
    model = MODELS.build(router_config(2)).train(training)
    model.backbone.layer1[0].train(not training)  # a mode that train() would not give
    model.backbone.conv1.weight.requires_grad = True
    modes = [module.training for module in model.modules()]
    learning = [p.requires_grad for p in model.parameters()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.random.get_rng_state()
    for measure in (part_costs, part_parameters, model_complexity):
        measure(model, (3, 8, 8))
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == learning
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_mode_comes_back_after_an_error():
    model = MODELS.build(model_config(num_experts=2)).train()
    with pytest.raises(RuntimeError):
        part_costs(model, (5, 8, 8))  # images of 5 channels
    assert all(module.training for module in model.modules())
    assert torch.is_grad_enabled()


def test_the_plain_network_is_one_expert_of_full_width():
    head = dict(pos_weight=9.0, thresholds=0.3, scale=16.0, classifier='linear')
    config = router_config(
        width=0.5, loss=dict(type='LDAMLoss', scale=16.0), in_channels=32, **head
    )
    config = ConfigDict(config, data_preprocessor=dict(num_classes=100))
    before = config.to_dict()
    plain = plain_model(config)
    assert config.to_dict() == before
    assert plain == dict(
        type='RIDEClassifier',
        num_experts=1,
        backbone=dict(R32, expert_width=1.0),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='MultiExpertHead', num_classes=100, classifier='linear', scale=16.0
        ),
    )
    model = MODELS.build(plain)
    assert model.backbone.out_channels == 64 and not model.routed
    assert model_complexity(model, (3, 32, 32)) == (470_004, 68_868_352)
    linear = plain_complexity(config, (3, 32, 32))
    cosine = plain_complexity(router_config(), (3, 32, 32))
    assert linear == (470_004, cosine[1]) and cosine[0] == linear[0] - 100


def test_number_of_experts_and_class_of_the_backbone_in_the_config():
    config = model_config(dict(type=RIDEResNetCIFAR, depth=20, num_experts=2), 2)
    assert MODELS.build(plain_model(config)).num_experts == 1


def test_the_plain_network_draws_no_random_numbers():
    random = torch.random.get_rng_state()
    plain_complexity(model_config(num_experts=2), (3, 8, 8))
    assert torch.equal(torch.random.get_rng_state(), random)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='ImageClassifier'), "RIDEClassifier, got type='ImageClassifier'"),
        ({}, 'RIDEClassifier, got type=None'),
        (dict(type='RIDEClassifier', head={}), 'expected backbone and head'),
        (model_config(dict(type='Nowhere')), 'a registered one, got Nowhere'),
    ],
)
def test_configs_without_a_plain_network_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        plain_model(config)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_model_on_a_gpu():
    model = MODELS.build(router_config(2))
    expected = part_costs(model, (3, 8, 8))
    assert part_costs(model.cuda(), (3, 8, 8)) == expected
