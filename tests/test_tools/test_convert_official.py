"""official_to_ride_mm.py: what it writes tests, routes, trains on and fine-tunes."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from digits_runs import ONE, TWO, metrics_of
from engine_helpers import forget_runs, run_tool
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain import get_model
from mmpretrain.registry import DATASETS, MODELS
from official_cases import (
    load_case,
    official_weights,
    random_weights,
    save_as_authors,
    shapes_of,
)
from PIL import Image

from ride_mm.apis import convert_official, load_official
from ride_mm.apis.official_network import OfficialNetwork
from ride_mm.cli import train_main
from ride_mm.cli.analysis_tools.route_budget import route_budget_main
from ride_mm.cli.model_converters.official_to_ride_mm import convert_official_main
from ride_mm.engine.checkpoint_io import load_checkpoint_file
from ride_mm.engine.hooks.class_counts import count_classes
from ride_mm.engine.hooks.fit_check import misfits
from ride_mm.models.routing import Routed
from ride_mm.utils import find_config

EXPERTS = OfficialNetwork(True, 20, 0.75, 3, 10, 'cosine')
ROUTERS = OfficialNetwork(True, 20, 0.75, 3, 10, 'cosine', top_z=10)


@pytest.fixture(autouse=True)
def separate_runs():
    forget_runs()


@pytest.fixture(scope='module')
def released(tmp_path_factory) -> dict[str, Path]:
    """Files of the authors' kind, of networks for digits."""
    folder = tmp_path_factory.mktemp('released')
    return {
        name: save_as_authors(folder / f'{name}.pth', random_weights(network))
        for name, network in (('experts', EXPERTS), ('routers', ROUTERS))
    }


def convert(source: Path, folder: Path, *options: object) -> tuple[Path, Path]:
    """Convert a file and name the checkpoint and the config."""
    target, config = folder / 'converted.pth', folder / 'converted.py'
    arguments = [source, target, '--config-out', config, *options]
    convert_official_main([str(argument) for argument in arguments])
    return target, config


def digits() -> tuple[torch.Tensor, np.ndarray]:
    """Test images as the config's preprocessor makes them, (300, 3, 16, 16)."""
    config = Config.fromfile(find_config(ONE))
    init_default_scope('mmpretrain')
    dataset = DATASETS.build(config.test_dataloader.dataset)
    images = torch.stack([dataset[i]['inputs'] for i in range(len(dataset))])
    mean, std = config.data_preprocessor.mean[0], config.data_preprocessor.std[0]
    return (images.float() - mean) / std, dataset.get_gt_labels()


def routed_digits(weights: Path) -> tuple[Routed, float]:
    """What the authors' weights say of them, and accuracy in percent."""
    images, labels = digits()
    with torch.no_grad():
        routed = load_official(weights).route(images)
    return routed, 100 * (routed.logits.argmax(1).numpy() == labels).mean()


def test_the_checkpoint_tests_as_the_weights_do(released, tmp_path):
    options = '--base', TWO, '--class-counts-from', ONE
    target, config = convert(released['routers'], tmp_path, *options)
    metrics = metrics_of(target, tmp_path, config=config)
    routed, accuracy = routed_digits(released['routers'])
    assert metrics['shot_accuracy/all'] == pytest.approx(accuracy)
    assert {'many', 'medium', 'few'} <= {k.split('/')[1] for k in metrics}
    used = routed.num_experts.float().mean().item()
    assert metrics['expert_usage/mean_experts'] == pytest.approx(used)
    assert metrics_of(target, tmp_path) == metrics  # With the shipped config, too.


def test_a_budget_is_found_for_the_checkpoint(released, tmp_path):
    options = '--base', TWO, '--class-counts-from', ONE
    target, config = convert(released['routers'], tmp_path, *options)
    arguments = [config, target, '--work-dir', tmp_path, '--mean-experts', 2]
    route_budget_main([str(argument) for argument in arguments])
    result = json.loads((tmp_path / 'route_budget_val.json').read_text())
    assert 1 <= result['chosen']['mean_experts'] <= 2


def test_routers_are_trained_on_the_checkpoint(released, tmp_path):
    target, _ = convert(released['experts'], tmp_path, '--base', ONE)
    arguments = [TWO, '--work-dir', tmp_path, '--epochs', 1, '--no-validate']
    arguments += ['--cfg-options', f'load_from={target}']
    train_main([str(argument) for argument in arguments])
    trained = load_checkpoint_file(tmp_path / 'epoch_1.pth')['state_dict']
    before = load_checkpoint_file(target)['state_dict']
    assert all(torch.equal(trained[k], v) for k, v in before.items())
    assert any(k.startswith('head.router.') for k in trained)


def test_the_checkpoint_teaches(released, tmp_path):
    target, config = convert(released['experts'], tmp_path, '--base', ONE)
    arguments = [ONE, '--work-dir', tmp_path, '--epochs', 1, '--no-validate']
    arguments += ['--cfg-options', 'model.distill.kd.type=KDLoss']
    teacher = dict(type='KDHook', config=config, checkpoint=target)
    arguments += [f'default_hooks.teacher.{k}={v}' for k, v in teacher.items()]
    train_main([str(argument) for argument in arguments])
    hub = load_checkpoint_file(tmp_path / 'epoch_1.pth')['message_hub']
    assert hub['runtime_info']['teacher']
    assert all(hub['log_scalars']['train/loss_kd']['values'] > 0)


def test_get_model_takes_config_and_checkpoint(released, tmp_path):
    target, config = convert(released['experts'], tmp_path, '--base', ONE)
    model = get_model(str(config), pretrained=str(target), device='cpu').eval()
    images, _ = digits()
    with torch.no_grad():
        got = model(images, mode='tensor')
        expected = load_official(released['experts'])(images, mode='tensor')
    assert torch.equal(got, expected)
    assert len(model._dataset_meta['classes']) == 10


def test_what_the_checkpoint_holds(released, tmp_path):
    target, config = convert(
        released['routers'], tmp_path, '--base', TWO, '--class-counts-from', ONE
    )
    checkpoint = load_checkpoint_file(target)
    assert checkpoint.keys() == {'meta', 'state_dict'}
    meta = checkpoint['meta']
    assert (meta['arch'], meta['epoch']) == ('TestNetModel', 7)
    assert meta['converted_from'] == 'routers.pth'
    assert len(meta['dataset_meta']['classes']) == 10
    own = Config.fromfile(config)
    assert Config.fromstring(meta['cfg'], '.py').model == own.model
    assert own.load_from == str(target)
    init_default_scope('mmpretrain')
    dataset = DATASETS.build(own.train_dataloader.dataset)
    stored = checkpoint['state_dict']['head.class_counts']
    assert stored.tolist() == count_classes(dataset).tolist()


def test_without_class_counts_there_is_no_accuracy_by_shots(released, tmp_path, capsys):
    target, config = convert(released['routers'], tmp_path, '--base', TWO)
    assert 'Shots:      not known' in capsys.readouterr().out
    assert 'head.class_counts' not in load_checkpoint_file(target)['state_dict']
    metrics = metrics_of(target, tmp_path, config=config)
    _, accuracy = routed_digits(released['routers'])
    assert metrics['accuracy/top1'] == pytest.approx(accuracy)
    assert not any('shot' in name or 'few' in name for name in metrics)


def test_class_counts_from_a_file(released, tmp_path, capsys):
    counts = list(range(200, 0, -20))
    (tmp_path / 'counts.json').write_text(json.dumps(counts))
    target, config = convert(
        released['experts'],
        tmp_path,
        *('--base', ONE, '--class-counts-from', tmp_path / 'counts.json'),
    )
    assert '200 to 20, 1,100 images' in capsys.readouterr().out
    stored = load_checkpoint_file(target)['state_dict']['head.class_counts']
    assert stored.tolist() == counts
    evaluator = Config.fromfile(config).test_evaluator
    assert [m.type for m in evaluator] == ['ShotAccuracy', 'ExpertAccuracy']


def test_metrics_are_those_of_the_network(released, tmp_path):
    for name, base, metric in (
        ('experts', TWO, 'ExpertAccuracy'),
        ('routers', ONE, 'ExpertUsage'),
    ):
        _, config = convert(released[name], tmp_path, '--base', base, '--overwrite')
        types = [m.type for m in Config.fromfile(config).test_evaluator]
        assert types == ['Accuracy', metric]


@pytest.mark.parametrize(
    ('network', 'base', 'options'),
    [
        (OfficialNetwork(True, 32, 0.75, 3, 100, 'cosine'), 'ride_r32_cifar100lt', []),
        (
            OfficialNetwork(True, 32, 1.0, 4, 100, 'cosine', top_z=30),
            'ride_r32_cifar100lt_router',
            [],
        ),
        (
            OfficialNetwork(True, 20, 1.0, 1, 100, 'linear', plain_names=True),
            'ride_r32_cifar100lt',
            [],
        ),
        (OfficialNetwork(False, 10, 0.75, 2, 1000, 'cosine'), 'ride_r50_custom', []),
        (
            OfficialNetwork(False, 18, 0.75, 2, 7, 'linear', top_z=5),
            'ride_r50_custom_router',
            [],
        ),
        (
            OfficialNetwork(False, 18, 0.75, 3, 7, 'cosine', top_z=5, shared_output=0),
            'ride_r50_custom_router',
            ['--cfg-options', 'model.head.thresholds=0.3', 'train_cfg.max_epochs=7'],
        ),
    ],
)
def test_the_config_describes_the_checkpoint(tmp_path, capsys, network, base, options):
    shapes = {
        k: torch.zeros_like(v, device='cpu') for k, v in shapes_of(network).items()
    }
    source = save_as_authors(tmp_path / 'a.pth', shapes)
    target, config = convert(source, tmp_path, *options)
    cfg, shipped = Config.fromfile(config), Config.fromfile(find_config(base))
    assert f'the data of {base}\n' in capsys.readouterr().out
    assert cfg.train_dataloader == shipped.train_dataloader
    assert cfg.train_cfg.max_epochs == (7 if options else shipped.train_cfg.max_epochs)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert misfits(model.state_dict(), load_checkpoint_file(target)['state_dict']) == []
    expected = network.model()
    assert {k: cfg.model.head[k] for k in expected['head']} == expected['head']
    assert cfg.model.head.loss.type == 'LDAMLoss'
    assert 'thresholds' not in cfg.model.head


def test_parameters_and_network_are_printed(tmp_path, capsys):
    case = load_case('r32_4e_ea_cifar100')
    convert(save_as_authors(tmp_path / 'a.pth', official_weights(case)), tmp_path)
    said = capsys.readouterr().out
    assert f'Parameters: {case["num_parameters"]:,}\n' in said
    assert 'Experts:    4, width 0.75\n' in said
    assert 'Classes:    100, named; cosine classifiers\n' in said
    assert 'Routers:    3, top_z 30, one last layer for all\n' in said


@pytest.fixture
def own_images(tmp_path) -> Path:
    stream = np.random.RandomState(0)
    for part in ('train', 'test'):
        for name, size in dict(ash=3, birch=2, cedar=2).items():
            where = tmp_path / 'images' / part / name
            where.mkdir(parents=True)
            for i in range(size):
                pixels = stream.randint(0, 256, (40, 50, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(where / f'{i}.png')
    return tmp_path / 'images'


def fine_tune(folder: Path, start: Path, images: Path, *options: str) -> dict:
    """One epoch without learning; what changes then is what was not loaded."""
    loaders = ('train_dataloader.dataset', 'val_dataloader', 'test_dataloader')
    forget_runs()
    train_main(
        [
            *('ride_r50_custom_finetune', '--work-dir', str(folder)),
            *('--epochs', '1', '--no-validate', '--cfg-options'),
            *('model.backbone.depth=10', 'model.num_experts=2'),
            *(f'{loader}.dataset.data_root={images}' for loader in loaders),
            *(
                f'{part}_dataloader.{setting}'
                for part in ('train', 'val', 'test')
                for setting in ('num_workers=0', 'persistent_workers=False')
            ),
            *(f'load_from={start}', 'optim_wrapper.optimizer.lr=0', *options),
            *('model.head.loss.reweight=None', 'model.head.num_classes=3'),
            'model.head.diversity.class_factor=None',
            'default_hooks.reweight.reweight_epoch=None',
        ]
    )
    return load_checkpoint_file(folder / 'epoch_1.pth')['state_dict']


def assert_fine_tuned(got: dict, start: dict, fresh: Sequence[str]) -> None:
    statistics = ('running_mean', 'running_var', 'num_batches_tracked')
    for name, tensor in got.items():
        if name.endswith(('class_counts', *statistics)):
            continue
        same = name in start and torch.equal(tensor, start[name])
        assert same != name.startswith(tuple(fresh)), name
    counts = {tuple(v.tolist()) for k, v in got.items() if k.endswith('class_counts')}
    assert counts == {(3, 2, 2)}


def test_fine_tuning_starts_from_trunk_and_experts(tmp_path, own_images, capfd):
    case = load_case('r10_2e_imagenet_lt')
    source = save_as_authors(tmp_path / 'a.pth', official_weights(case))
    (tmp_path / 'counts.json').write_text(json.dumps([5] * 1000))
    target, _ = convert(
        source, tmp_path, '--class-counts-from', tmp_path / 'counts.json'
    )
    start = load_checkpoint_file(target)['state_dict']
    got = fine_tune(tmp_path / 'one', target, own_images)
    assert_fine_tuned(got, start, ['head.classifiers.'])
    said = ''.join(capfd.readouterr())
    for name in ('head.classifiers.0.weight', 'head.classifiers.1.weight'):
        assert re.search(rf'size mismatch for {name}: .*384, 1000.*384, 3', said)
    # A checkpoint of as many classes starts the classifiers, too, whatever its counts.
    again = fine_tune(tmp_path / 'two', tmp_path / 'one/epoch_1.pth', own_images)
    assert_fine_tuned(again, got, ['-'])


def error_of(*argv: object) -> str:
    with pytest.raises(SystemExit) as err:
        convert_official_main([str(argument) for argument in argv])
    assert str(err.value.code).startswith('error: '), err.value.code
    return str(err.value.code)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--config-out', 'x.json'], '--config-out: expected FILE.py, got x.json'),
        (['--base', 'no_such_config'], "got 'no_such_config'"),
        (['--config-out', 'x.py'], 'data of 10 classes, .* got 100; .* --base'),
        (['--class-counts-from', 'none.json'], 'got none.json: no such file'),
        (['--class-counts-from', 'text.json'], 'text.json: expected JSON'),
        (['--class-counts-from', 'dict.json'], 'list of 10 numbers .*, got dict'),
        (['--class-counts-from', 'short.json'], 'one for each class, got 2'),
        (['--class-counts-from', 'half.json'], 'training images, got 0.5'),
        (['--class-counts-from', 'minus.json'], 'training images, got -1'),
        (['--class-counts-from', 'zeros.json'], 'got zeros only'),
        (['--class-counts-from', 'ride_r50_custom'], 'a training set that can be'),
        (['--class-counts-from', 'no_such_config'], "got 'no_such_config'"),
        (['--cfg-options', 'modle.x=1'], "got 'modle'"),
        (['--base', 'ride_r50_custom'], 'RIDEResNetCIFAR, .* got RIDEResNet; .*--base'),
        (
            ['--base', 'plain.py'],
            'plain.py: .*RIDEResNetCIFAR, .*got mmpretrain.ResNet_CIFAR;',
        ),
    ],
)
def test_errors_before_anything_is_written(
    released, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    Path('text.json').write_text('many')
    Path('plain.py').write_text(
        "model = dict(backbone=dict(type='mmpretrain.ResNet_CIFAR', depth=20))\n"
    )
    for name, content in dict(
        dict={'a': 1},
        short=[1, 2],
        half=[0.5] * 10,
        minus=[-1] * 10,
        zeros=[0] * 10,
    ).items():
        Path(f'{name}.json').write_text(json.dumps(content))
    there = set(Path().iterdir())
    assert re.search(message, error_of(released['experts'], 'y.pth', *options))
    assert set(Path().iterdir()) == there


def test_files_are_not_lost(released, tmp_path):
    source, target = released['experts'], tmp_path / 'y.pth'
    before = source.read_bytes()
    assert 'of its own, got it twice' in error_of(source, source, '--overwrite')
    assert source.read_bytes() == before
    assert 'got a folder' in error_of(source, tmp_path, '--overwrite')
    target.write_text('mine')
    assert '--overwrite replaces it' in error_of(source, target)
    assert target.read_text() == 'mine'
    assert 'got an address' in error_of('https://a/b.pth', tmp_path / 'z.pth')
    assert 'no such file' in error_of(tmp_path / 'none.pth', tmp_path / 'z.pth')
    convert_official_main([str(source), str(target), '--overwrite', '--base', ONE])
    assert 'state_dict' in load_checkpoint_file(target)


def test_errors_name_the_file_and_the_first_difference(released, tmp_path):
    weights = random_weights(EXPERTS)
    del weights['backbone.layer3s.1.0.bn1.bias']
    source = save_as_authors(tmp_path / 'a.pth', weights)
    message = error_of(source, tmp_path / 'y.pth')
    assert f'{source}: not the weights of ResNet-20 for CIFAR' in message
    assert 'layer3s.1.0.bn1.bias: expected shape (48,), got no such tensor' in message
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(released['experts'].read_bytes()[:1000])
    assert 'truncated' in error_of(cut, tmp_path / 'y.pth')
    _, converted = convert_official(random_weights(EXPERTS))
    source = save_as_authors(tmp_path / 'b.pth', converted)
    assert 'needs no conversion' in error_of(source, tmp_path / 'y.pth')
    assert not (tmp_path / 'y.pth').exists()


def test_the_target_is_named_as_a_checkpoint(released, tmp_path):
    for name in ('y', 'y.pt', 'y.py'):
        message = error_of(released['experts'], tmp_path / name, '--base', ONE)
        assert f'target: expected FILE.pth, got {tmp_path / name}' in message
    os.mkfifo(tmp_path / 'pipe.pth')
    options = '--overwrite', '--base', ONE
    message = error_of(released['experts'], tmp_path / 'pipe.pth', *options)
    assert 'pipe.pth: expected a regular file' in message
    assert [path.name for path in tmp_path.iterdir()] == ['pipe.pth']


def test_weights_that_are_not_finite_are_not_converted(released, tmp_path):
    weights = random_weights(EXPERTS)
    weights['backbone.layer1.0.bn1.bias'][3] = float('nan')
    source = save_as_authors(tmp_path / 'a.pth', weights)
    message = error_of(source, tmp_path / 'y.pth', '--base', ONE)
    assert f'{source}: layer1.0.bn1.bias: expected finite numbers, got nan' in message
    assert not (tmp_path / 'y.pth').exists()


def test_a_base_without_a_backbone_is_taken(released, tmp_path):
    (tmp_path / 'data.py').write_text("default_scope = 'mmpretrain'\n")
    target = tmp_path / 'y.pth'
    arguments = [released['experts'], target, '--base', tmp_path / 'data.py']
    convert_official_main([str(argument) for argument in arguments])
    assert 'head.classifiers.0.weight' in load_checkpoint_file(target)['state_dict']


def test_the_script_runs(released, tmp_path):
    done = run_tool(
        'model_converters/official_to_ride_mm.py',
        *(released['experts'], tmp_path / 'y.pth', '--base', ONE),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert f'Checkpoint: {tmp_path / "y.pth"}' in done.stdout
