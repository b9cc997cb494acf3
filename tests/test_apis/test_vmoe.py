"""load_vmoe: the network follows from the file, and computes what the original does."""

import re

import numpy as np
import pytest
import torch
from vmoe_cases import DATA, Case, model_config, trees
from vmoe_files import bfloat16, write

from ride_mm.apis import convert_vmoe, load_vmoe
from ride_mm.apis.vmoe_names import original_shapes
from ride_mm.apis.vmoe_network import compare, describe
from ride_mm.engine.checkpoint_io import CheckpointError
from ride_mm.models.layers.position_embedding import resize_positions

TINY = DATA / 'checkpoints/tiny'
POSITIONS = 'Encoder/posembed_input/pos_embedding'
# Case b was run with this, two groups of two images.
ROUTER = dict(capacity_factor=1.05)
TREES = trees()
PLAIN = [name for name in TREES if not name.startswith('eee')]


@pytest.fixture(scope='module')
def case() -> Case:
    return Case('b')


@pytest.fixture
def parameters(case) -> dict[str, np.ndarray]:
    return dict(case.part('params/'))


def logits_of(model, case) -> torch.Tensor:
    for i in case.blocks:
        model.backbone.layers[i].ffn.images_per_group = 2
    with torch.no_grad():
        return model(case.images, mode='tensor')


@pytest.mark.parametrize('name', ['tiny', 'sharded'])
def test_logits_are_those_of_the_original(case, name):
    model = load_vmoe(DATA / 'checkpoints' / name, router=ROUTER)
    assert not model.training
    logits = logits_of(model, case)
    torch.testing.assert_close(logits, case['logits'], rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', ['a', 'h_map'])
def test_other_networks_are_recognised(tmp_path, name):
    case = Case(name)
    prefix = write(tmp_path / name, case.part('params/'), shards=2, split=2)
    selected = case.config['encoder']['moe']['router']['num_selected_experts']
    config = convert_vmoe(prefix).config
    expected = model_config(case.config, case.images.shape[-1])
    for key in ('arch', 'img_size', 'patch_size', 'pool'):
        assert config['backbone'][key] == expected['backbone'][key]
    assert config['backbone']['moe']['blocks'] == case.blocks
    for key in ('num_classes', 'in_channels', 'hidden_dim'):
        assert config['head'][key] == expected['head'][key]
    model = load_vmoe(prefix, router=dict(num_selected=selected, capacity_factor=99))
    with torch.no_grad():
        logits = model(case.images, mode='tensor')
        expected = case.model().eval()
        for i in case.blocks:
            expected.backbone.layers[i].ffn.router.capacity_factor = 99
        assert torch.equal(logits, expected(case.images, mode='tensor'))


@pytest.mark.parametrize('name', PLAIN)
def test_the_authors_networks_are_recognised(name):
    tree = TREES[name]
    shapes = {k: tuple(v) for k, v in tree['params'].items()}
    network = describe(shapes)
    config, moe = tree['config'], tree['config']['encoder']['moe']
    assert network.image_size == (tree['image_size'],) * 2
    assert network.patch_size == tuple(config['patch_size'])
    assert network.moe_blocks == tuple(moe['layers'])
    assert network.num_experts == moe['num_experts']
    assert network.num_heads == config['encoder']['num_heads']
    assert network.num_classes == config['num_classes']
    assert network.hidden_dim == config['representation_size']
    found = compare(network, shapes)
    assert found.missing == found.unused == found.shapes == ()


def test_an_ensemble_is_refused():
    tree = TREES['eee_s32_last2_ilsvrc2012_ft_cifar100']
    message = r'encoderblock_5/Moe/Router.*\(512, 2, 4\): an ensemble .* 2 members'
    with pytest.raises(CheckpointError, match=message):
        describe({k: tuple(v) for k, v in tree['params'].items()})


def test_released_names_bring_their_capacity(parameters, tmp_path):
    name = 'vmoe_s32_last2_ilsvrc2012_randaug_light1'
    router = load_vmoe(write(tmp_path / name, parameters)).backbone.layers[1].ffn.router
    assert (router.capacity_factor, router.eval_capacity_factor) == (1.05, 4.0)
    given = load_vmoe(tmp_path / name, router=dict(eval_capacity_factor=1.5))
    assert given.backbone.layers[3].ffn.router.eval_capacity_factor == 1.5


@pytest.mark.parametrize('size, grid', [(24, (6, 6)), ((12, 20), (3, 5))])
def test_positions_are_resized_for_other_images(parameters, size, grid):
    model = load_vmoe(TINY, image_size=size)
    stored = torch.from_numpy(parameters[POSITIONS])
    expected = resize_positions(stored, grid, 1)
    assert torch.equal(model.backbone.pos_embed, expected)
    height, width = (size, size) if isinstance(size, int) else size
    assert model(torch.zeros(2, 3, height, width), mode='tensor').shape == (2, 5)


def test_a_grid_that_is_no_square_survives_loading_without_a_token(tmp_path):
    case = Case('h_map')
    prefix = write(tmp_path / 'map', case.part('params/'))
    model = load_vmoe(prefix, image_size=(12, 16))
    expected = resize_positions(case[f'params/{POSITIONS}'], (3, 4), 0)
    assert torch.equal(model.backbone.pos_embed, expected)


def test_bfloat16_gives_the_rounded_weights(parameters, tmp_path):
    names = dict.fromkeys(parameters, 'bfloat16')
    stored = {k: bfloat16(v) for k, v in parameters.items()}
    state = convert_vmoe(write(tmp_path / 'half', stored, dtypes=names)).state_dict
    exact = convert_vmoe(TINY).state_dict
    for name, tensor in state.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, exact[name], rtol=2**-7, atol=1e-30)
        assert not (tensor.view(torch.int32) & 0xFFFF).any()


def test_float64_becomes_float32(parameters, tmp_path):
    wide = {k: v.astype(float) for k, v in parameters.items()}
    state = convert_vmoe(write(tmp_path / 'wide', wide)).state_dict
    exact = convert_vmoe(TINY).state_dict
    assert all(torch.equal(v, exact[k]) for k, v in state.items())


def test_parameters_of_a_whole_training_are_found(parameters, tmp_path):
    whole = {f'params/{k}': v for k, v in parameters.items()}
    whole['opt_state/count'] = np.array(7)
    converted = convert_vmoe(write(tmp_path / 'whole', whole))
    assert converted.differences.unused == ('opt_state/count',)
    assert converted.differences.missing == ()
    exact = convert_vmoe(TINY).state_dict
    assert all(torch.equal(v, exact[k]) for k, v in converted.state_dict.items())


def test_unused_names_are_told(parameters, tmp_path):
    more = {**parameters, 'x/y': np.zeros(2), 'MapHead/probe': np.zeros((1, 1, 32))}
    found = convert_vmoe(write(tmp_path / 'more', more)).differences
    assert found.unused == ('MapHead/probe', 'x/y')


def test_missing_names_are_refused_or_left_random(parameters, tmp_path):
    del parameters['Encoder/encoderblock_1/Moe/Mlp/Dense_0/bias']
    del parameters['head/bias']
    prefix = write(tmp_path / 'less', parameters)
    message = re.escape(f'{prefix}.index: expected the parameters of a V-MoE of 4')
    with pytest.raises(CheckpointError, match=message) as caught:
        load_vmoe(prefix)
    assert 'Moe/Mlp/Dense_0/bias: expected it, got no such name' in str(caught.value)
    converted = convert_vmoe(prefix, allow_missing=True)
    assert len(converted.differences.missing) == 2
    model = load_vmoe(prefix, allow_missing=True)
    assert torch.isfinite(model(torch.zeros(1, 3, 16, 16), mode='tensor')).all()


def test_without_a_classifier_there_are_features(parameters, case, tmp_path):
    head = ('head/', 'pre_logits/')
    rest = {k: v for k, v in parameters.items() if not k.startswith(head)}
    model = load_vmoe(write(tmp_path / 'body', rest))
    whole = load_vmoe(TINY)
    with torch.no_grad():
        (features,) = model(case.images, mode='tensor')
        assert torch.equal(features, whole.backbone(case.images)[0])


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'embedding/kernel': None}, 'embedding/kernel: expected it .*got none'),
        ({'embedding/kernel': (4, 4, 1, 32)}, 'patches of 3 channels.*4, 4, 1, 32'),
        ({'embedding/kernel': (4, 32)}, r'4 axes, got shape \(4, 32\)'),
        ({'head/kernel': (23, 5)}, r'head/kernel: expected shape \(24, 5\), got'),
        ({POSITIONS: (1, 16, 32)}, 'square of patches and a token.*1, 16, 32'),
        ({POSITIONS: (1, 17, 30)}, r'expected shape \(1, 17, 32\), got'),
        (
            {'Encoder/encoderblock_7/LayerNorm_0/scale': (32,)},
            'V-MoE of 8 blocks.*\n.*block_4.*expected it, got no such name',
        ),
        (
            {'Encoder/encoderblock_3/Moe/Router/dense/kernel': (32, 3)},
            r'block_3/Moe/Router.*\(32, 4\), got \(32, 3\)',
        ),
    ],
)
def test_parameters_of_other_networks_are_refused(
    parameters, tmp_path, changes, message
):
    for name, shape in changes.items():
        parameters.pop(name, None)
        if shape is not None:
            parameters[name] = np.ones(shape, np.float32)
    with pytest.raises(CheckpointError, match=message):
        load_vmoe(write(tmp_path / 'other', parameters))


def test_numbers_that_are_none_or_whole_are_refused(parameters, tmp_path):
    parameters['head/bias'] = np.array([0, np.nan, 0, 0, 0], np.float32)
    message = 'broken is broken:\n.*head.bias: expected finite numbers, got nan'
    with pytest.raises(CheckpointError, match=message):
        load_vmoe(write(tmp_path / 'broken', parameters))
    parameters['head/bias'] = np.zeros(5, np.int32)
    with pytest.raises(CheckpointError, match='head/bias: .*floating.* got int32'):
        load_vmoe(write(tmp_path / 'whole', parameters))


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(image_size=25), 'image_size: .*patches of 4x4, got 25x25'),
        (dict(image_size=(8, 8, 8)), 'image_size: .*got 8x8x8'),
        (dict(image_size=-4), 'image_size: .*got -4x-4'),
        (dict(router=dict(num_selected=5)), 'from 1 to 4.* got 5'),
        (dict(router=dict(capacity_factor=0)), 'capacity_factor: .*got 0'),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        load_vmoe(TINY, **settings)


def test_fixed_positions_are_an_option(parameters, tmp_path):
    del parameters[POSITIONS]
    prefix = write(tmp_path / 'fixed', parameters)
    plain = load_vmoe(prefix, image_size=16)
    assert plain.backbone.pos_embed is None
    model = load_vmoe(prefix, image_size=16, pos_embed='sincos2d')
    assert model.backbone.pos_embed.shape == (1, 17, 32)
    assert POSITIONS not in original_shapes(model)
