"""The authors' weights become models that give the authors' outputs."""

import re

import pytest
import torch
from mmpretrain.registry import MODELS
from official_cases import (
    case_images,
    load_case,
    load_outputs,
    official_weights,
    random_weights,
    relative_error,
    save_as_authors,
    shapes_of,
)

from ride_mm.apis import convert_official, load_official
from ride_mm.apis.official_network import OfficialNetwork, describe
from ride_mm.engine.checkpoint_io import CheckpointError, DamagedCheckpointError
from ride_mm.models import RIDEClassifier

SMALL, ROUTED = 'r32_3e_cifar100', 'r32_4e_ea_cifar100'


@pytest.fixture(scope='module')
def weights() -> dict[str, torch.Tensor]:
    return official_weights(load_case(SMALL))


@pytest.fixture(scope='module')
def routed_weights() -> dict[str, torch.Tensor]:
    return official_weights(load_case(ROUTED))


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('name', [SMALL, ROUTED])
def test_a_file_of_the_authors_gives_their_logits(tmp_path, name, legacy):
    case = load_case(name)
    path = save_as_authors(tmp_path / 'official.pth', official_weights(case), legacy)
    model = load_official(path)
    assert type(model) is RIDEClassifier and not model.training
    with torch.no_grad():
        logits = model(case_images(case), mode='tensor')
    assert relative_error(logits, load_outputs(name)['logits']) < 1e-4


def test_decisions_are_the_authors(routed_weights):
    model, case = load_official(routed_weights), load_case(ROUTED)
    expected = load_outputs(ROUTED)
    with torch.no_grad():
        samples = model(case_images(case), mode='predict')
    target = torch.from_numpy(expected['target'])
    labels = torch.cat([sample.pred_label for sample in samples])
    theirs = torch.from_numpy(expected['logits']).argmax(1)
    assert torch.equal(labels, theirs)
    assert (labels == target).sum() == (theirs == target).sum()
    used = [sample.num_experts for sample in samples]
    assert used == expected['num_experts'].flatten().tolist()


@pytest.mark.parametrize(
    'prefix', ['backbone.', 'module.backbone.', 'module.backbone.module.']
)
def test_any_source_and_prefix(weights, prefix):
    renamed = {prefix + k.removeprefix('backbone.'): v for k, v in weights.items()}
    config, expected = convert_official(weights)
    for source in (renamed, {'state_dict': renamed, 'epoch': 3}):
        got = load_official(source).state_dict()
        assert all(torch.equal(got[k], v) for k, v in expected.items())
    assert convert_official(renamed)[0] == config


NETWORKS = [
    OfficialNetwork(True, 20, 1.0, 1, 10, 'linear'),
    OfficialNetwork(True, 32, 1.0, 1, 100, 'cosine', plain_names=True),
    OfficialNetwork(True, 20, 0.75, 1, 10, 'linear', plain_names=True),
    OfficialNetwork(True, 44, 1.0, 6, 7, 'cosine'),
    OfficialNetwork(True, 56, 0.6875, 2, 100, 'cosine', top_z=30),
    OfficialNetwork(True, 110, 0.75, 2, 100, 'linear', top_z=5),
    OfficialNetwork(
        True, 20, 0.75, 3, 10, 'cosine', top_z=10, hidden_channels=8, shared_output=True
    ),
    OfficialNetwork(True, 20, 0.75, 4, 10, 'cosine', top_z=4, shared_output=False),
    OfficialNetwork(True, 20, 0.75, 2, 10, 'cosine', top_z=4, shared_output=False),
    OfficialNetwork(False, 10, 0.75, 2, 1000, 'cosine'),
    OfficialNetwork(False, 18, 1.0, 1, 5, 'linear', plain_names=True),
    OfficialNetwork(False, 34, 0.3125, 3, 5, 'linear'),
    OfficialNetwork(False, 50, 0.75, 3, 8142, 'cosine', top_z=50),
    OfficialNetwork(False, 50, 1.0, 1, 1000, 'cosine', plain_names=True),
    OfficialNetwork(False, 101, 1.0, 4, 365, 'linear'),
    OfficialNetwork(False, 152, 0.75, 6, 1000, 'cosine'),
    OfficialNetwork(False, 50, 0.75, 4, 1000, 'linear', groups=32),
    OfficialNetwork(False, 101, 1.0, 2, 10, 'linear', groups=32, width_per_group=8),
    OfficialNetwork(False, 152, 0.75, 3, 1000, 'cosine', groups=32, top_z=50),
]


@pytest.mark.parametrize('network', NETWORKS, ids=lambda n: f'{n.name}-{n.num_experts}')
def test_the_shapes_tell_the_network(network):
    shapes = shapes_of(network)
    found = {name.removeprefix('backbone.'): t for name, t in shapes.items()}
    assert describe(found) == network
    config, converted = convert_official(shapes)
    assert config == network.model()
    assert len(converted) == len(shapes)


@pytest.mark.parametrize(
    'network',
    [
        OfficialNetwork(True, 20, 1.0, 1, 10, 'linear', plain_names=True),
        OfficialNetwork(True, 20, 1.0, 1, 10, 'cosine', plain_names=True),
        OfficialNetwork(False, 10, 1.0, 1, 10, 'linear', plain_names=True),
    ],
)
def test_a_single_expert_equals_the_same_one_among_experts(network):
    plain = random_weights(network)
    last = 3 if network.for_cifar else 4
    first, second = f'layer{last - 1}', f'layer{last}'
    renamed = {}
    for name, tensor in plain.items():
        named = re.sub(rf'\.({first}|{second})\.', r'.\1s.0.', name)
        renamed[named.replace('.linear.', '.linears.0.')] = tensor
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        got, expected = (
            load_official(w)(images, mode='tensor') for w in (plain, renamed)
        )
    assert got.shape == (2, 10) and torch.equal(got, expected)
    assert got.isfinite().all() and got.std() > 0


def test_unshared_routers_of_the_same_weights_equal_shared_ones(routed_weights):
    unshared = dict(routed_weights)
    for part in ('weight', 'bias'):
        tensor = unshared.pop(f'backbone.expert_help_pred_fc.{part}')
        for i in range(3):
            unshared[f'backbone.expert_help_pred_fcs.{i}.{part}'] = tensor
    images = case_images(load_case(ROUTED))
    models = load_official(routed_weights), load_official(unshared)
    assert [len(m.head.router.output) for m in models] == [1, 3]
    with torch.no_grad():
        one, two = (m.route(images) for m in models)
    assert torch.equal(one.logits, two.logits)
    assert torch.equal(one.num_experts, two.num_experts)


def test_old_files_lack_the_batches_that_batch_norm_has_seen(weights):
    old = {k: v for k, v in weights.items() if not k.endswith('num_batches_tracked')}
    expected = convert_official(weights)[1]
    config, converted = convert_official(old)
    assert len(converted) == len(old) < len(expected)
    assert all(torch.equal(expected[k], v) for k, v in converted.items())
    load_official(old)


def refused(weights: dict) -> str:
    with pytest.raises(CheckpointError) as err:
        load_official(weights)
    return str(err.value)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            {'layer2s.1.0.conv1.weight': None},
            r'layer2s\.1\.0\.conv1\.weight: expected shape \(24, 16, 3, 3\), got no '
            'such tensor',
        ),
        (
            {'layer3s.2.4.bn2.running_var': (49,)},
            r'running_var: expected shape \(48,\), got shape \(49,\)',
        ),
        ({'layer4.0.x': (1,)}, r'layer4\.0\.x: expected no such tensor, got .* \(1,\)'),
        ({'linears.1.weight': (100, 48)}, r'expected shape \(48, 100\), got .*100, 48'),
        ({'linears.2.weight': None}, r'linears\.2\.weight: .* got no such tensor'),
        ({'linears.0.weight': None}, r'linears\.0\.weight: .* got no such tensor'),
        ({'linears.0.weight': (48,)}, r'expected 2 axes, got shape \(48,\)'),
        ({'linears.1.bias': (100,)}, r'linears\.1\.bias: expected no such tensor'),
        ({'conv1.weight': None}, r'conv1\.weight: .* got no such tensor'),
        ({'conv1.weight': (16, 1, 3, 3)}, r'\(64, 3, 7, 7\).* got \(16, 1, 3, 3\)'),
        ({'layer1.5.conv1.weight': (1,)}, r'3 stages, got \[6, 5, 5\]'),
        ({'layer2.0.conv1.weight': (32, 16, 3, 3)}, 'share_layer2'),
        ({'expert_help_pred_fc.weight': (1, 46)}, 'hidden_fcs.0.weight: .* no such'),
    ],
)
def test_the_first_difference_is_named(weights, change, message):
    changed = dict(weights)
    for name, shape in change.items():
        if shape is None:
            del changed[f'backbone.{name}']
        else:
            changed[f'backbone.{name}'] = torch.zeros(shape)
    assert re.search(message, refused(changed)), refused(changed)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'fc.weight': (1, 16)}, 'expected more than 16 inputs, .* got 16'),
        ({'fc.weight': (1, 150)}, 'no more than the 100 logits .* got 134'),
        ({'fc.bias': None}, r'expert_help_pred_fc\.bias: .* got no such tensor'),
        ({'fc.weight': None}, r'expert_help_pred_fc\.weight: .* got no such tensor'),
        (
            {'hidden_fcs.2.weight': None},
            r'hidden_fcs\.2\.weight: expected shape \(16, 48\), got no such tensor',
        ),
        ({'hidden_fcs.3.weight': (16, 48)}, r'hidden_fcs\.3\.weight: expected no such'),
    ],
)
def test_the_first_difference_of_routers_is_named(routed_weights, change, message):
    changed = dict(routed_weights)
    for name, shape in change.items():
        if shape is None:
            del changed[f'backbone.expert_help_pred_{name}']
        else:
            changed[f'backbone.expert_help_pred_{name}'] = torch.zeros(shape)
    assert re.search(message, refused(changed)), refused(changed)


def test_depths_that_there_are_not_are_refused_with_those_there_are(weights):
    shallow = {k: v for k, v in weights.items() if not re.search(r'\.[34]\.\w+\d', k)}
    shallow = {k: v for k, v in shallow.items() if not re.search(r'\.2\.(conv|bn)', k)}
    message = refused(shallow)
    assert re.search(r'expected one of \(20, 32, 44, 56, 110\), got 14', message)
    shapes = shapes_of(OfficialNetwork(False, 18, 1.0, 2, 5, 'linear'))
    shapes['backbone.layer1.2.conv1.weight'] = torch.empty(64, 64, 3, 3)
    message = refused(shapes)
    assert r'[1, 1, 1, 1] (depth 10)' in message and 'got [3, 2, 2, 2]' in message


def test_a_shared_third_stage_is_refused_by_name():
    shapes = shapes_of(OfficialNetwork(False, 50, 0.75, 2, 5, 'linear'))
    shared = {
        k.replace('layer3s.0.', 'layer3.'): v
        for k, v in shapes.items()
        if 'layer3s.1.' not in k
    }
    assert 'share_layer3' in refused(shared)


def test_a_width_that_groups_do_not_divide_is_refused():
    shapes = shapes_of(OfficialNetwork(False, 50, 0.75, 2, 5, 'linear', groups=32))
    odd = {
        k: v.new_empty(100 * 4, *v.shape[1:])
        if re.search(r'layer4s.*conv3\.weight', k)
        else v
        for k, v in shapes.items()
    }
    expected = 'ResNeXt-50 (32x4d): expected a multiple of 0.25, got 0.195312'
    assert expected in refused(odd)


def test_a_width_below_the_trunk_s_is_refused():
    shapes = shapes_of(OfficialNetwork(True, 20, 1.0, 2, 5, 'linear'))
    thin = {
        k: v.new_empty(8, *v.shape[1:]) if re.search(r'layer3s.*\.0\.conv1', k) else v
        for k, v in shapes.items()
    }
    assert 'ResNet-20 for CIFAR: expert_width: expected at least 0.5' in refused(thin)


FOREIGN = {
    'torchvision': lambda: __import__('torchvision').models.resnet18().state_dict(),
    'ldam_drw': lambda: {
        k.replace('backbone.', 'module.'): v for k, v in shapes_of(NETWORKS[1]).items()
    },
    'mmpretrain': lambda: MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', depth=18),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=512),
        )
    ).state_dict(),
}


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        ('torchvision', "begin with 'backbone.' .*, got 'conv1.weight'"),
        ('ldam_drw', "begin with 'backbone.' .*, got 'module.conv1.weight'"),
        ('mmpretrain', "begin with 'backbone.' .*, got 'head.fc.weight'"),
    ],
)
def test_foreign_models_are_refused(model, message):
    assert re.search(message, refused(FOREIGN[model]()))


def test_a_converted_checkpoint_is_refused_with_what_to_do(weights):
    converted = convert_official(weights)[1]
    assert 'needs no conversion' in refused(converted)
    assert 'needs no conversion' in refused({'meta': {}, 'state_dict': converted})


def test_what_is_no_state_dict_is_refused(tmp_path):
    assert "'a': expected a tensor, got int" in refused({'a': 1})
    assert 'without any' in refused({'state_dict': {}})
    assert 'got list' in refused({'state_dict': [1]})
    with pytest.raises(FileNotFoundError):
        load_official(tmp_path / 'none.pth')


@pytest.mark.parametrize('source', [None, 3, [1], torch.ones(1)])
def test_what_is_neither_path_nor_mapping_is_refused(source):
    kind = type(source).__name__
    with pytest.raises(TypeError, match=f'expected a path, .*, got {kind}'):
        load_official(source)


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('conv1.weight', lambda t: t * float('nan'), 'finite numbers, got nan'),
        ('linears.2.weight', lambda t: t - float('inf'), 'finite numbers, got -inf'),
        ('linears.0.weight', lambda t: t.double() + 1e300, 'numbers, got 1e[+]300'),
        ('layer1.0.conv1.weight', torch.Tensor.cfloat, 'point numbers, got complex64'),
        ('layer3s.1.0.conv1.weight', torch.Tensor.long, 'point numbers, got int64'),
        ('bn1.running_var', torch.Tensor.bool, 'floating-point numbers, got bool'),
        ('bn1.num_batches_tracked', torch.Tensor.cfloat, 'whole numbers, got complex'),
    ],
)
def test_numbers_that_are_no_weights_are_refused_by_name(
    weights, name, change, message
):
    key = f'backbone.{name}'
    changed = refused({**weights, key: change(weights[key])})
    assert re.search(rf'^{re.escape(name)}: expected .*{message}', changed), changed


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_are_taken(weights, dtype):
    other = {k: v.to(dtype) if v.is_floating_point() else v for k, v in weights.items()}
    got = load_official(other).state_dict()['backbone.conv1.weight']
    assert torch.equal(got, other['backbone.conv1.weight'].float())


def test_a_truncated_file_is_refused(tmp_path, weights):
    path = save_as_authors(tmp_path / 'cut.pth', weights)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DamagedCheckpointError, match=r'cut\.pth'):
        load_official(path)
