"""publish_model.py: small files whose names carry their hash."""

import ast
import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from digits_runs import ONE, metrics_of
from engine_helpers import run_tool
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from ride_mm.cli.configs.stored_config import settings_in
from ride_mm.cli.model_converters.publish_model import publish_model_main
from ride_mm.cli.model_converters.published_config import without_local_settings
from ride_mm.engine.checkpoint_io import load_checkpoint_file, loaders
from ride_mm.utils import find_config


def publish(source: Path, target: Path | str, *options: str) -> Path:
    return publish_model_main([str(source), str(target), *options])


def save(folder: Path, weights: dict, **more: object) -> Path:
    torch.save({'state_dict': weights, **more}, folder / 'source.pth')
    return folder / 'source.pth'


def test_training_state_goes_and_weights_stay(stage_one, tmp_path, capsys):
    path = publish(stage_one, tmp_path)
    before, after = load_checkpoint_file(stage_one), load_checkpoint_file(path)
    assert {'optimizer', 'message_hub', 'param_schedulers'} <= before.keys()
    assert after.keys() == {'meta', 'state_dict'}
    assert after['state_dict'].keys() == before['state_dict'].keys()
    for name, tensor in before['state_dict'].items():
        assert torch.equal(after['state_dict'][name], tensor)
        assert after['state_dict'][name].dtype == tensor.dtype
    assert after['meta']['epoch'] == 1
    classes = after['meta']['dataset_meta']['classes']
    assert classes == before['meta']['dataset_meta']['classes'] and len(classes) == 10
    assert after['meta']['cfg'] == before['meta']['cfg']
    assert 'seed' in before['meta'] and 'seed' not in after['meta']
    assert path.stat().st_size < 0.6 * stage_one.stat().st_size
    said = capsys.readouterr().out
    assert f'{path}: {path.stat().st_size:,} bytes' in said


def test_the_name_carries_the_hash_that_a_download_compares(
    stage_one, tmp_path, monkeypatch
):
    path = publish(stage_one, tmp_path / 'new' / 'small.pth')
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path == tmp_path / 'new' / f'small-{digest[:8]}.pth'
    asked = []

    def download(url: str, dst: str, hash_prefix: str, progress: bool) -> None:
        asked.append(hash_prefix)
        Path(dst).write_bytes(path.read_bytes())

    monkeypatch.setattr(loaders.torch.hub, 'download_url_to_file', download)
    monkeypatch.setattr(loaders.torch.hub, 'get_dir', lambda: str(tmp_path / 'cache'))
    loaded = CheckpointLoader.load_checkpoint(f'https://site/{path.name}')
    assert asked == [digest[:8]] and 'state_dict' in loaded


@pytest.mark.parametrize(
    ('source', 'target', 'expected'),
    [
        ('epoch_3.pth', 'out', 'out/run-'),
        ('iter_30.pth', 'out/', 'out/run-'),
        ('best_accuracy_epoch_3.pth', 'out', 'out/best_accuracy_epoch_3-'),
        ('small-0123abcd.pth', 'out', 'out/small-'),
        ('epoch_3.pth', 'out/name.pth', 'out/name-'),
        ('epoch_3.pth', 'name-0123abcd.pth', 'name-'),
    ],
)
def test_names(tmp_path, monkeypatch, source, target, expected):
    monkeypatch.chdir(tmp_path)
    Path('run').mkdir()
    torch.save({'state_dict': {'a': torch.ones(1)}}, f'run/{source}')
    path = publish(f'run/{source}', target)
    assert re.fullmatch(rf'{expected}[0-9a-f]{{8}}\.pth', str(path))


def test_the_same_weights_have_the_same_name(stage_one, tmp_path):
    one, two = publish(stage_one, tmp_path / 'a'), publish(stage_one, tmp_path / 'b')
    assert one.name == two.name
    assert publish(one, tmp_path / 'c').name == one.name


def test_half_precision_tests_like_full(stage_one, tmp_path):
    full, half = (
        publish(stage_one, tmp_path / d, '--dtype', d) for d in ('float32', 'float16')
    )
    weights = load_checkpoint_file(half)['state_dict']
    for name, tensor in load_checkpoint_file(full)['state_dict'].items():
        kept = name.endswith(('running_mean', 'running_var'))
        if kept or not tensor.is_floating_point():
            assert torch.equal(weights[name], tensor)
        else:
            assert weights[name].dtype == torch.float16
            assert torch.allclose(weights[name].float(), tensor, 1e-3, 1e-6)
    assert half.stat().st_size < 0.65 * full.stat().st_size
    one, two = (metrics_of(p, p.parent, config=ONE) for p in (full, half))
    assert one.keys() == two.keys()
    assert abs(one['shot_accuracy/all'] - two['shot_accuracy/all']) < 2


def test_what_half_precision_cannot_hold_stays(tmp_path):
    weights = {
        'a.weight': torch.tensor([1.0, 1e5]),
        'b.weight': torch.tensor([1.0, 2.0]),
        'c.running_var': torch.ones(1),
        'head.threshold_logits': torch.tensor([1e9, float('inf'), -float('inf')]),
        'd.double': torch.ones(1, dtype=torch.float64),
        'e.count': torch.tensor(70000),
    }
    path = publish(save(tmp_path, weights), tmp_path, '--dtype', 'float16')
    got = load_checkpoint_file(path)['state_dict']
    for name in weights:
        assert torch.equal(got[name].double(), weights[name].double())
    types = {k: str(v.dtype).removeprefix('torch.') for k, v in got.items()}
    assert types == {
        'a.weight': 'float32',
        'b.weight': 'float16',
        'c.running_var': 'float32',
        'head.threshold_logits': 'float32',
        'd.double': 'float16',
        'e.count': 'int64',
    }


def test_training_only_modules_and_wrappers_go(tmp_path):
    large = torch.zeros(100_000)
    weights = {'module.a': large[:2], 'module.distill.kd.x': torch.ones(1)}
    meta = {'epoch': 4, 'seed': 1, 'hook_msgs': {'x': 1}}
    path = publish(save(tmp_path, weights, meta=meta, ema_state_dict={}), tmp_path)
    got = load_checkpoint_file(path)
    assert list(got['state_dict']) == ['a']
    assert got['meta'] == {'epoch': 4}
    assert path.stat().st_size < 10_000  # Without what the tensor was a view of.


def test_weights_alone_are_published_too(tmp_path):
    torch.save({'a': torch.ones(1), 'meta': torch.ones(2)}, tmp_path / 'x.pth')
    got = load_checkpoint_file(publish(tmp_path / 'x.pth', tmp_path))
    assert list(got['state_dict']) == ['a', 'meta'] and got['meta'] == {}


def error_of(*argv: object) -> str:
    with pytest.raises(SystemExit) as err:
        publish_model_main([str(argument) for argument in argv])
    assert str(err.value.code).startswith('error: '), err.value.code
    return str(err.value.code)


def test_bad_input(tmp_path):
    good = save(tmp_path, {'a': torch.ones(1)})
    (tmp_path / 'text.pth').write_text('text')
    torch.save({'optimizer': {}, 'epoch': 1}, tmp_path / 'other.pth')
    torch.save([1], tmp_path / 'list.pth')
    torch.save({'state_dict': {}}, tmp_path / 'empty.pth')
    there = set(tmp_path.iterdir())
    assert 'no such file' in error_of(tmp_path / 'none.pth', tmp_path)
    assert 'no checkpoint' in error_of(tmp_path / 'text.pth', tmp_path)
    assert 'got optimizer, epoch' in error_of(tmp_path / 'other.pth', tmp_path)
    assert 'got list' in error_of(tmp_path / 'list.pth', tmp_path)
    assert 'got an empty dictionary' in error_of(tmp_path / 'empty.pth', tmp_path)
    assert 'got an address' in error_of('https://a/b.pth', tmp_path / 'z.pth')
    assert 'or FILE.pth, got x.bin' in error_of(good, tmp_path / 'x.bin')
    assert 'expected a folder, got the file' in error_of(good, good / 'x.pth')
    assert set(tmp_path.iterdir()) == there


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'state_dict': {'a': torch.ones(1)}, 'meta': 3}, "as 'meta', got int"),
        ({'state_dict': {'a': torch.ones(1)}, 'meta': None}, "'meta', got NoneType"),
        ({'state_dict': {'a': 'x'}}, "as 'state_dict', got 'a', which is of type str"),
        ({'state_dict': {3: torch.ones(1)}}, "as 'state_dict', got 3 as a name"),
        ({'state_dict': [1]}, "as 'state_dict', got list"),
        ({}, "as 'state_dict', got dict"),
        (
            {'state_dict': {'a': torch.ones(1), 'b': torch.tensor([1, float('nan')])}},
            'b: expected finite numbers, got nan',
        ),
        (
            {'state_dict': {'module.b': torch.tensor(float('inf'))}},
            'b: expected finite numbers, got inf',
        ),
        (
            {'state_dict': {'head.threshold_logits': torch.tensor([float('nan')])}},
            'head.threshold_logits: expected numbers, got nan',
        ),
    ],
)
def test_a_broken_checkpoint_is_not_published(tmp_path, content, message):
    source = tmp_path / 'source.pth'
    torch.save(content, source)
    assert message in error_of(source, tmp_path / 'out')
    assert list(tmp_path.iterdir()) == [source]


CONFIG = """\
# Of /home/me
data_root = '/data/images'
default_hooks = dict(
    checkpoint=dict(interval=1, type='SafeCheckpointHook'),
    teacher=dict(checkpoint='/home/me/t.pth', config='/home/me/t.py', type='KDHook'))
load_from = '/home/me/a.pth'
log_name = '{{ fileBasename }}'
model = dict(
    backbone=dict(depth=20, type='RIDEResNetCIFAR'),
    distill=dict(kd=dict(type='KDLoss')),
    head=dict(num_classes=3),
    type='RIDEClassifier')
param_scheduler = [
    dict(begin=0, end=-1.5, type='LinearLR'),
]
resume = False
test_cfg = dict()
test_dataloader = dict(dataset=dict(data_root='/data/images', type='LTCIFAR100'))
work_dir = '/home/me/run'
"""


class TestConfig:
    def test_places_and_teacher_go_and_all_else_stays(self, tmp_path):
        meta = dict(cfg=CONFIG, epoch=3)
        source = save(tmp_path, {'a': torch.ones(1)}, meta=meta)
        path = publish(source, tmp_path)
        got = load_checkpoint_file(path)['meta']
        assert got['epoch'] == 3
        text = got['cfg']
        for word in ('home', 'distill', 'teacher', 'load_from', 'resume', 'work_dir'):
            assert word not in text
        assert "data_root = '/data/images'\n" in text and "'{{ fileBasename }}'" in text
        assert CONFIG[CONFIG.index('param_scheduler') :].split('resume')[0] in text
        before, after = settings_in(CONFIG), settings_in(text)
        before['model'].pop('distill', None)
        assert after == before
        assert publish(path, tmp_path / 'again').name.endswith(path.name[-12:])

    def test_literal_dictionaries_are_understood(self):
        text = "default_hooks = {'teacher': dict(a=1), 'x': inf}\nmodel = None\n"
        got = without_local_settings(text)
        assert got == "default_hooks = {'x': inf}\nmodel = None\n"

    @pytest.mark.parametrize(
        'cfg',
        [
            3,
            "import os\nwork_dir = '/home/me'\n",
            "a = open('trace', 'w')\n",
            "default_hooks = dict(**{'teacher': 1})\n",
            "default_hooks = {**{'teacher': 1}}\n",
            'default_hooks = dict([1])\n',
            'a = b = 1\n',
            'a.b = 1\n',
            'a = other\n',
            "a = f'{1}'\n",
            'a = [\n',
            'a = "\0"\n',
            f'a = {"[" * 5000}{"]" * 5000}\n',
        ],
    )
    def test_what_is_no_plain_text_is_left_out(
        self, tmp_path, monkeypatch, capsys, cfg
    ):
        monkeypatch.chdir(tmp_path)
        source = save(tmp_path, {'a': torch.ones(1)}, meta=dict(cfg=cfg, epoch=3))
        got = load_checkpoint_file(publish(source, tmp_path / 'out'))
        assert got['meta'] == {'epoch': 3}
        assert 'The config is left out' in capsys.readouterr().out
        assert not Path('trace').exists()

    def test_shipped_configs_are_plain(self):
        cfg = Config.fromfile(find_config('ride_r32_cifar100lt_distill'))
        cfg.work_dir = '/home/me'
        got = without_local_settings(cfg.pretty_text)
        assert 'distill=' in cfg.pretty_text and 'distill=' not in got
        assert 'KDHook' in cfg.pretty_text and 'KDHook' not in got
        settings = cfg.to_dict()
        del settings['work_dir'], settings['model']['distill']
        del settings['default_hooks']['teacher']
        for name in ('load_from', 'resume'):
            settings.pop(name, None)
        names = [node.targets[0].id for node in ast.parse(got).body]
        assert sorted(names) == sorted(settings)
        expected = settings_in(cfg.pretty_text)
        expected['model'].pop('distill', None)
        assert settings_in(got) == expected


def test_the_script_runs(tmp_path):
    source = save(tmp_path, {'a': torch.ones(1)})
    done = run_tool('model_converters/publish_model.py', source, tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / 'out').iterdir()
    assert str(path) in done.stdout
    assert json.dumps(path.name).count('-') == 1
