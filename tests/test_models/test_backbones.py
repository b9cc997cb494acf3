"""Backbones with experts: shapes, cost, freezing, weights of plain networks."""

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.runner.checkpoint import load_checkpoint
from mmpretrain.models.backbones import ResNet, ResNeXt
from mmpretrain.registry import MODELS

from ride_mm.models import RIDEClassifier, RIDEResNet, RIDEResNetCIFAR

SMALL = {
    'cifar': (RIDEResNetCIFAR, dict(depth=20), 32),
    'basic': (RIDEResNet, dict(depth=10), 64),
    'bottleneck': (RIDEResNet, dict(depth=50), 64),
    'resnext': (RIDEResNet, dict(depth=50, groups=32, width_per_group=4), 64),
}


@pytest.mark.parametrize('kind', SMALL)
@pytest.mark.parametrize('num_experts', [1, 2])
@pytest.mark.parametrize('width', [0.75, 1.0])
def test_one_map_per_expert_and_every_parameter_learns(kind, num_experts, width):
    cls, args, size = SMALL[kind]
    model = cls(num_experts=num_experts, expert_width=width, **args)
    model.init_weights()
    images = torch.randn(2, 3, size, size)
    maps = model(images)
    assert isinstance(maps, tuple) and len(maps) == num_experts
    stride = 4 if cls is RIDEResNetCIFAR else 32
    expected = 2, model.out_channels, size // stride, size // stride
    assert all(m.shape == expected for m in maps)
    sum(m.square().mean() for m in maps).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize('kind', SMALL)
def test_an_expert_computed_alone_equals_its_part_of_the_whole(kind):
    cls, args, size = SMALL[kind]
    model = cls(num_experts=3, **args).eval()
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        maps = model(images)
        trunk = model.forward_trunk(images)
        for e in (2, 0, 1):
            assert torch.equal(model.forward_expert(trunk, e), maps[e])


@pytest.mark.parametrize('depth', RIDEResNetCIFAR.depths)
def test_depth_counts_the_layers_with_weights(depth):
    model = RIDEResNetCIFAR(depth=depth, num_experts=1)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) + 1 == depth  # and the classifier


@pytest.mark.parametrize('depth', RIDEResNet.arch_settings)
def test_depth_of_large_networks_counts_the_layers_with_weights(depth):
    model = RIDEResNet(depth=depth, num_experts=1)
    convolutions = [
        name
        for name, m in model.named_modules()
        if isinstance(m, torch.nn.Conv2d) and 'downsample' not in name
    ]
    assert len(convolutions) + 1 == depth


def classifier(num_experts: int, width: float, num_classes: int, **backbone):
    return RIDEClassifier(
        num_experts=num_experts,
        backbone=dict(expert_width=width, **backbone),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='MultiExpertHead', num_classes=num_classes),
    )


R32 = dict(type='RIDEResNetCIFAR', depth=32)
R10 = dict(type='RIDEResNet', depth=10)


@pytest.mark.parametrize(
    ('backbone', 'num_experts', 'width', 'size', 'millions'),
    [
        (R32, 1, 1.0, 32, 68.87),
        (R32, 2, 0.75, 32, 74.92),
        (R32, 3, 0.75, 32, 100.36),
        (R32, 4, 0.75, 32, 125.80),
        (R32, 6, 0.75, 32, 176.68),
        (R10, 1, 1.0, 224, 889),
        (R10, 2, 0.75, 224, 959),
        (R10, 3, 0.75, 224, 1173),
    ],
)
def test_cost_equals_the_authors_figures(backbone, num_experts, width, size, millions):
    classes = 100 if size == 32 else 1000
    model = classifier(num_experts, width, classes, **backbone).eval()
    info = get_model_complexity_info(
        model, input_shape=(3, size, size), show_table=False, show_arch=False
    )
    # The authors' counter also counts normalization, activation and pooling.
    assert info['flops'] / 1e6 == pytest.approx(millions, rel=0.03)


@pytest.mark.parametrize('kind', ['cifar', 'basic'])
def test_frozen_stages_stay_in_eval_mode_and_do_not_learn(kind):
    cls, args, _ = SMALL[kind]
    stages = len(cls(num_experts=2, **args).stages())
    for frozen in range(-1, stages):
        model = cls(num_experts=2, frozen_stages=frozen, **args).train()
        for index, stage in enumerate(model.stages()):
            learns = index > frozen
            for module in stage:
                assert all(p.requires_grad == learns for p in module.parameters())
                assert module.training == learns


def test_fixed_batch_norm_statistics():
    model = RIDEResNetCIFAR(depth=20, norm_eval=True).train()
    before = model.bn1.running_mean.clone()
    model(torch.randn(2, 3, 32, 32))
    assert torch.equal(model.bn1.running_mean, before)
    assert model.bn1.weight.requires_grad


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.2 + 0.05)
    model.eval()  # returns None in MMPretrain's ResNet
    return model


@pytest.mark.parametrize(
    ('plain', 'ours'),
    [
        (lambda: ResNet(depth=18), dict(depth=18)),
        (lambda: ResNet(depth=50), dict(depth=50)),
        (
            lambda: ResNeXt(depth=50, groups=32, width_per_group=4),
            dict(depth=50, groups=32, width_per_group=4),
        ),
    ],
)
def test_experts_of_full_width_take_the_weights_of_mmpretrain_s_network(plain, ours):
    plain = randomised(plain())
    model = RIDEResNet(num_experts=2, expert_width=1.0, **ours).eval()
    result = model.load_state_dict(plain.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = plain(images)[0]
        for got in model(images):
            assert torch.allclose(got, expected, rtol=1e-5)


def test_reduced_experts_leave_the_stages_that_do_not_fit(tmp_path):
    plain = randomised(ResNet(depth=18))
    torch.save(
        {'state_dict': {f'backbone.{k}': v for k, v in plain.state_dict().items()}},
        tmp_path / 'plain.pth',
    )
    model = classifier(2, 0.75, 10, type='RIDEResNet', depth=18)
    fresh = model.backbone.experts[1].layer3[0].conv1.weight.clone()
    load_checkpoint(model, str(tmp_path / 'plain.pth'), logger='silent')
    assert torch.equal(model.backbone.conv1.weight, plain.conv1.weight)
    assert torch.equal(
        model.backbone.layer2[1].bn2.bias, plain.state_dict()['layer2.1.bn2.bias']
    )
    assert torch.equal(model.backbone.experts[1].layer3[0].conv1.weight, fresh)


def test_what_was_loaded_is_reported(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'ride_mm.models.backbones.expert_backbone.print_log',
        lambda message, **_: lines.append(message),
    )
    plain = ResNet(depth=18).state_dict()
    RIDEResNet(depth=18, num_experts=2).load_state_dict(plain, strict=False)
    assert len(lines) == 1
    assert 'trunk takes 60 of 60 tensors' in lines[0]
    assert 'each of 2 experts takes 0 of 60 tensors' in lines[0]
    assert 'left as initialised: layer3 (layer3.0.conv1.weight: expected' in lines[0]
    assert 'expected (192, 128, 3, 3), got (256, 128, 3, 3)' in lines[0]
    RIDEResNet(depth=18, expert_width=1.0).load_state_dict(plain)
    assert lines[1].endswith('each of 3 experts takes 60 of 60 tensors')


def test_pretrained_weights_by_init_cfg(tmp_path):
    plain = randomised(ResNet(depth=18))
    torch.save(
        {'state_dict': {f'backbone.{k}': v for k, v in plain.state_dict().items()}},
        tmp_path / 'plain.pth',
    )
    init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'plain.pth'), prefix='backbone'
    )
    model = MODELS.build(
        dict(type='RIDEResNet', depth=18, expert_width=1.0, init_cfg=init_cfg)
    )
    model.init_weights()
    expected = plain.state_dict()['layer4.1.conv2.weight']
    for expert in model.experts:
        assert torch.equal(expert.layer4[1].conv2.weight, expected)


def test_a_checkpoint_with_experts_is_left_as_it_is():
    source = randomised(RIDEResNetCIFAR(depth=20, num_experts=2))
    target = RIDEResNetCIFAR(depth=20, num_experts=2)
    target.load_state_dict(source.state_dict())
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


@pytest.mark.parametrize(
    ('cls', 'args', 'message'),
    [
        (RIDEResNetCIFAR, dict(depth=18), r'one of \(20, 32, 44, 56, 110\), got 18'),
        (RIDEResNetCIFAR, dict(num_experts=0), 'whole number >= 1, got 0'),
        (RIDEResNetCIFAR, dict(frozen_stages=4), '-1 to 3, got 4'),
        (RIDEResNetCIFAR, dict(expert_width=0.25), 'at least 0.5 .* got 0.25'),
        (RIDEResNet, dict(depth=20), r'one of \(10, 18, .*\), got 20'),
        (RIDEResNet, dict(depth=18, groups=32), 'expected 1 for depth 18, got 32'),
        (RIDEResNet, dict(frozen_stages=5), '-1 to 4, got 5'),
        (RIDEResNet, dict(expert_width=0), 'at least 1/256, one channel, got 0'),
        (RIDEResNet, dict(groups=3, expert_width=0.77), 'whole groups .* got 0.77'),
        (RIDEResNetCIFAR, dict(expert_width=float('nan')), 'expected > 0, got nan'),
        (RIDEResNetCIFAR, dict(num_experts=True), 'whole number >= 1, got True'),
    ],
)
def test_wrong_settings_say_expected_and_got(cls, args, message):
    with pytest.raises(ValueError, match=message):
        cls(**args)
