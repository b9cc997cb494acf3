"""vmoe_to_ride_mm.py: what it writes tests, classifies and says what was found."""

import numpy as np
import pytest
import torch
from digits_runs import ONE, metrics_of
from engine_helpers import forget_runs, run_tool
from mmengine.config import Config
from mmpretrain import get_model
from PIL import Image
from vmoe_cases import DATA, Case
from vmoe_files import shard, write

from ride_mm.apis import load_vmoe
from ride_mm.cli.model_converters.vmoe_to_ride_mm import convert_vmoe_main
from ride_mm.engine.checkpoint_io import load_checkpoint_file

TINY = DATA / 'checkpoints/tiny'


@pytest.fixture(autouse=True)
def separate_runs():
    forget_runs()


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for label in range(5):
        folder = tmp_path / f'images/test/class_{label}'
        folder.mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (20, 18, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f'{number}.png')
    return tmp_path / 'images'


def convert(prefix, folder, *options):
    target, config = folder / 'converted.pth', folder / 'converted.py'
    arguments = [prefix, target, '--config-out', config, *options]
    convert_vmoe_main([str(argument) for argument in arguments])
    return target, config


def test_the_checkpoint_is_that_of_load_vmoe(tmp_path, capsys):
    target, config = convert(TINY, tmp_path)
    content = load_checkpoint_file(target)
    assert content['meta']['converted_from'] == 'tiny'
    expected = load_vmoe(TINY).state_dict()
    assert content['state_dict'].keys() == expected.keys()
    assert all(torch.equal(content['state_dict'][k], v) for k, v in expected.items())
    model = get_model(str(config), pretrained=str(target))
    case = Case('b')
    with torch.no_grad():
        got = model.eval()(case.images[:2], mode='tensor')
        assert torch.equal(got, load_vmoe(TINY)(case.images[:2], mode='tensor'))
    printed = capsys.readouterr().out
    for line in (
        'Experts:    4 in each of the blocks 1, 3 (from 0); a token selects 2',
        'Images:     16x16; pooling: token',
        'Classes:    5, from 24 (tanh)',
        'Parameters: 62,709 in 60 tensors; the file has 76 arrays of float32 in 1 '
        'shard',
        'Missing:    none',
        'Unused:     none',
    ):
        assert f'{line}\n' in printed


def test_the_config_tests_on_images(tmp_path, images):
    # With room for all, an answer does not depend on the other images of a group.
    target, config = convert(TINY, tmp_path, '--eval-capacity-factor', 99)
    data = [f'test_dataloader.dataset.data_root={images}']
    metrics = metrics_of(
        target, tmp_path, *data, 'test_dataloader.num_workers=0', config=config
    )
    model = load_vmoe(TINY, router=dict(eval_capacity_factor=99))
    correct = []
    for label in range(5):
        for file in sorted((images / f'test/class_{label}').iterdir()):
            # The shorter edge to 18 of 16 * 256 / 224 pixels: it has 18 already.
            pixels = np.asarray(Image.open(file))[2:18, 1:17].copy()
            image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
            with torch.no_grad():
                correct.append(model(image, mode='tensor').argmax().item() == label)
    assert metrics['accuracy/top5'] == 100
    assert metrics['accuracy/top1'] == pytest.approx(100 * np.mean(correct))


def test_other_classes_than_those_of_the_weights_are_refused(tmp_path):
    options = '--cfg-options', 'model.head.num_classes=7'
    with pytest.raises(SystemExit, match='num_classes=5, as the weights have, got 7'):
        convert(TINY, tmp_path, *options)
    assert not list(tmp_path.iterdir())


def test_a_base_brings_data_and_plain_accuracy(tmp_path):
    body = Case('b').part('params/')
    rng = np.random.default_rng(0)
    body['head/kernel'] = rng.normal(size=(24, 10)).astype(np.float32)
    body['head/bias'] = np.zeros(10, np.float32)
    prefix = write(tmp_path / 'ten', body)
    target, config = convert(prefix, tmp_path, '--base', ONE)
    cfg = Config.fromfile(config)
    assert cfg.data_preprocessor.mean == [127.5] * 3
    assert [m.type for m in cfg.test_evaluator] == ['Accuracy']
    assert 'train_dataloader' in cfg
    metrics = metrics_of(target, tmp_path, config=config)
    assert 'accuracy/top1' in metrics
    assert load_checkpoint_file(target)['meta']['dataset_meta']['classes'][3] == '3'


def test_a_base_of_the_same_kind_brings_what_weights_do_not_tell(tmp_path):
    base = tmp_path / 'base.py'
    base.write_text("""
default_scope = 'mmpretrain'
model = dict(
    type='VMoEClassifier',
    backbone=dict(
        type='VMoE',
        arch='s',
        drop_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='x.pth'),
        moe=dict(num_experts=2, drop_rate=0.2, router=dict(noise_std=0.5)),
    ),
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=7,
        in_channels=512,
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
    ),
)
""")
    target, config = convert(TINY, tmp_path, '--base', base)
    model = Config.fromfile(config).model
    assert model.backbone.arch.num_layers == 4 and model.backbone.drop_rate == 0.1
    moe = model.backbone.moe
    assert (moe.num_experts, moe.drop_rate, moe.blocks) == (4, 0.2, [1, 3])
    assert (moe.router.noise_std, moe.router.num_selected) == (0.5, 2)
    assert model.head.num_classes == 5 and model.head.loss.use_sigmoid
    assert 'init_cfg' not in model.backbone
    get_model(str(config), pretrained=str(target))


def test_settings_reach_the_model(tmp_path, capsys):
    options = '--image-size', 24, 32, '--selected-experts', 1
    options += '--capacity-factor', 2, '--eval-capacity-factor', 4
    target, config = convert(TINY, tmp_path, *options)
    backbone = Config.fromfile(config).model.backbone
    assert backbone.img_size == (24, 32)
    assert backbone.moe.router == dict(
        type='NoisyTopKRouter',
        num_selected=1,
        capacity_factor=2.0,
        eval_capacity_factor=4.0,
    )
    state = load_checkpoint_file(target)['state_dict']
    assert state['backbone.pos_embed'].shape == (1, 49, 32)
    assert 'Images:     24x32, resized from 16x16' in capsys.readouterr().out


def test_missing_and_unused_names_are_reported(tmp_path, capsys):
    parameters = Case('b').part('params/')
    del parameters['Encoder/encoder_norm/bias']
    parameters['opt/x'] = np.zeros(1)
    prefix = write(tmp_path / 'less', parameters)
    with pytest.raises(SystemExit, match='encoder_norm/bias: expected it'):
        convert(prefix, tmp_path)
    assert not (tmp_path / 'converted.pth').exists()
    target, _ = convert(prefix, tmp_path, '--allow-missing')
    printed = capsys.readouterr().out
    assert 'Missing:    Encoder/encoder_norm/bias\n' in printed
    assert 'Unused:     opt/x\n' in printed
    assert 'backbone.ln1.bias' not in load_checkpoint_file(target)['state_dict']


@pytest.mark.parametrize(
    'options, message',
    [
        (['--image-size', '25'], 'image_size: expected multiples'),
        (['--image-size', '8', '8', '8'], '--image-size: expected one number'),
        (['--selected-experts', '5'], 'num_selected: expected .*got 5'),
        (['--base', ONE], 'expected a config for data of 5 classes.*got 10'),
        (['--base', 'nothing'], 'expected the path of a config'),
        (['--config-out', 'x.txt'], '--config-out: expected FILE.py'),
    ],
)
def test_options_that_cannot_be_followed(tmp_path, options, message):
    target = tmp_path / 'out.pth'
    with pytest.raises(SystemExit, match=message):
        convert_vmoe_main([str(TINY), str(target), *options])
    assert not target.exists()


def test_files_that_are_there_are_kept(tmp_path):
    target, _ = convert(TINY, tmp_path)
    before = target.read_bytes()
    with pytest.raises(SystemExit, match='expected a new file'):
        convert(TINY, tmp_path)
    assert target.read_bytes() == before
    convert(TINY, tmp_path, '--overwrite', '--image-size', 24)
    assert target.read_bytes() != before
    prefix = write(tmp_path / 'own', Case('b').part('params/'))
    with pytest.raises(SystemExit, match='expected a file of its own'):
        convert_vmoe_main([str(prefix), f'{prefix}.index', '--overwrite'])


def test_the_program_tells_what_is_wrong_in_a_line(tmp_path):
    prefix = write(tmp_path / 'own', Case('b').part('params/'), shards=2)
    path = shard(prefix, 1, 2)
    path.write_bytes(path.read_bytes()[:-7])
    arguments = 'model_converters/vmoe_to_ride_mm.py', prefix, tmp_path / 'out.pth'
    result = run_tool(*arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(f'error: {path}: expected')
    assert len(result.stderr.splitlines()) == 1
    path.unlink()
    with pytest.raises(SystemExit, match='error: .*expected this shard of the 2'):
        convert_vmoe_main(list(map(str, arguments[1:])))
    assert not (tmp_path / 'out.pth').exists()
