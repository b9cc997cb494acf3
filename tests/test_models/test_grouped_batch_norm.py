"""BatchNorm over groups equals BatchNorm on each group."""

import pytest
import torch
from mmcv.cnn import build_norm_layer
from torch import nn

from ride_mm.models import RIDEClassifier
from ride_mm.models.layers import GroupedBatchNorm2d
from ride_mm.models.layers.grouped_batch_norm import number_of_groups


def images(number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 + 2 * torch.randn(number, 5, 4, 4, generator=generator)


def layer(kind=GroupedBatchNorm2d, **settings) -> nn.BatchNorm2d:
    torch.manual_seed(1)
    norm = kind(5, **settings)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize(
    ('number', 'expected'),
    [(8, 2), (9, 3), (10, 3), (3, 1), (1, 1), (5, 2), (4, 1), (12, 3), (2, 1)],
)
def test_number_of_groups(number, expected):
    assert number_of_groups(number, 4) == expected


def test_no_group_has_a_single_image():
    for number in range(2, 30):
        for per_group in range(2, 9):
            groups = number_of_groups(number, per_group)
            sizes = [len(range(g, number, groups)) for g in range(groups)]
            assert min(sizes) >= 2 and max(sizes) <= max(per_group, 3)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('number', [8, 9, 10, 3])
def test_each_group_is_normalised_on_its_own(number, layout):
    x = images(number).contiguous(memory_format=layout).requires_grad_()
    got = layer(images_per_group=4)(x)
    groups = number_of_groups(number, 4)
    expected = torch.empty_like(got)
    for g in range(groups):
        expected[g::groups] = layer(nn.BatchNorm2d)(x[g::groups])
    assert torch.allclose(got, expected, atol=1e-6)
    weight = torch.randn(got.shape, generator=torch.Generator().manual_seed(2))
    gradients = [torch.autograd.grad((y * weight).sum(), x)[0] for y in (got, expected)]
    assert torch.allclose(*gradients, atol=1e-6)
    if number == 8:
        assert got.is_contiguous(memory_format=layout)


@pytest.mark.parametrize('momentum', [0.1, None])
def test_running_statistics_are_the_mean_of_what_each_gpu_would_have(momentum):
    x = images(8)
    one = layer(images_per_group=4, momentum=momentum)
    many = [layer(nn.BatchNorm2d, momentum=momentum) for _ in range(2)]
    for batch in (x, x * 2 + 1):
        one(batch)
        for g, norm in enumerate(many):
            norm(batch[g::2])
    for name in ('running_mean', 'running_var'):
        expected = torch.stack([getattr(norm, name) for norm in many]).mean(0)
        assert torch.allclose(getattr(one, name), expected, atol=1e-5)
    assert one.num_batches_tracked == 2


def test_running_statistics_of_the_first_group():
    x = images(8)
    one, first = layer(images_per_group=4, running='first'), layer(nn.BatchNorm2d)
    one(x)
    first(x[::2])
    assert torch.allclose(one.running_mean, first.running_mean)
    assert torch.allclose(one.running_var, first.running_var)


def test_a_smaller_group_weighs_less():
    x = images(5)
    one = layer(images_per_group=4, momentum=1.0)
    one(x)
    means = [x[g::2].mean((0, 2, 3)) for g in range(2)]
    expected = (3 * means[0] + 2 * means[1]) / 5
    assert torch.allclose(one.running_mean, expected, atol=1e-6)


def test_in_eval_mode_it_is_batch_norm():
    one, plain = layer(images_per_group=2).eval(), layer(nn.BatchNorm2d).eval()
    plain.load_state_dict(one.state_dict())
    assert torch.equal(one(images(6)), plain(images(6)))


def test_a_network_is_made_of_it_by_config():
    assert isinstance(
        build_norm_layer(dict(type='GroupedBN', images_per_group=2), 5)[1],
        GroupedBatchNorm2d,
    )
    torch.manual_seed(0)

    def network(norm_cfg):
        torch.manual_seed(0)
        model = RIDEClassifier(
            num_experts=2,
            backbone=dict(type='RIDEResNetCIFAR', depth=20, norm_cfg=norm_cfg),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='MultiExpertHead', num_classes=3),
        )
        model.init_weights()
        return model.train()

    grouped = network(dict(type='GroupedBN', images_per_group=4))
    plain = network(dict(type='BN'))
    plain.load_state_dict(grouped.state_dict())
    x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    expected = torch.stack([plain(x[g::2]) for g in range(2)], dim=1).flatten(0, 1)
    assert torch.allclose(grouped(x), expected, atol=1e-4)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(images_per_group=1), 'images_per_group: expected .* got 1'),
        (dict(images_per_group=2.5), 'got 2.5'),
        (dict(running='last'), "running: expected .* got 'last'"),
    ],
)
def test_wrong_settings_say_expected_and_got(settings, message):
    with pytest.raises(ValueError, match=message):
        GroupedBatchNorm2d(5, **settings)
