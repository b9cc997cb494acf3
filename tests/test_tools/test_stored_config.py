"""What is understood, and what refused, of the config text in a checkpoint."""

import pytest
from digits_runs import TWO
from mmengine.config import Config

from ride_mm.cli.configs.stored_config import config_from, name_in, settings_in
from ride_mm.cli.zoo_files import shipped_configs
from ride_mm.utils import find_config


class TestStoredConfig:
    def test_is_what_was_written(self):
        config_text = Config.fromfile(find_config(TWO)).pretty_text
        settings = settings_in(config_text)
        cfg = Config.fromfile(find_config(TWO)).to_dict()
        for key in ('model', 'data_preprocessor', 'test_dataloader'):
            assert settings[key] == cfg[key]
        assert [m['type'] for m in settings['test_evaluator']] == [
            m['type'] for m in cfg['test_evaluator']
        ]
        again = config_from(settings)
        assert again.test_dataloader.to_dict() == cfg['test_dataloader']
        assert 'checkpoint_fit' in again.default_hooks

    @pytest.mark.parametrize(
        ('changed', 'message'),
        [
            ('import os', 'another statement in line 3'),
            ("__import__('os').system('touch CANARY')", 'another statement'),
            ("model = __import__('os').system('touch CANARY')", 'expected numbers'),
            ("model = dict(**__import__('os').environ)", 'expected numbers'),
            ("model = dict(type=open('CANARY', 'w'))", "got .open.'CANARY'"),
            (
                "model = dict(type='os.system', command='touch CANARY')",
                "got 'os.system'",
            ),
            ("model = {'type': 'builtins.eval'}", "got 'builtins.eval'"),
            (
                "model = dict(type='ImageClassifier', a=[dict(type='torch.load')])",
                "got 'torch.load'",
            ),
            (
                "model = dict(type='ImageClassifier', _scope_='antigravity')",
                "no other place, got '_scope_'",
            ),
            ("model = {open('CANARY', 'w'): 1}", 'expected a key'),
            ('model = [dict(type=1)]', 'expected model, got none'),
            ('model = dict(', 'expected Python, got SyntaxError'),
            (f'model = {"[" * 500}{"]" * 500}', 'expected'),
            (
                "test_dataloader = dict(dataset=dict(type='CIFAR10', "
                "data_root='http://x'))",
                "expected data on this machine, got 'http://x'",
            ),
        ],
    )
    def test_runs_nothing(self, changed, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        text = "model = dict(type='ImageClassifier')\ntest_dataloader = dict()\n"
        assert settings_in(text)['model'] == dict(type='ImageClassifier')
        with pytest.raises(ValueError, match=message):
            settings_in(f'{text}{changed}\n')
        assert not (tmp_path / 'CANARY').exists()

    def test_keys_that_are_no_names(self):
        hashes = {'exp-10': 'a', 'step-50': 'b'}
        dataset = dict(type='LongTailed', expected_hash=hashes)
        cfg = Config(
            dict(
                model=dict(type='ImageClassifier'),
                test_dataloader=dict(dataset=dataset),
            )
        )
        assert 'dict({' in cfg.pretty_text
        got = settings_in(cfg.pretty_text)
        assert got['test_dataloader']['dataset']['expected_hash'] == hashes
        with pytest.raises(ValueError, match='expected numbers'):
            settings_in(cfg.pretty_text.replace('dict({', 'dict(open, {'))

    @pytest.mark.parametrize('name', shipped_configs())
    def test_what_ride_mm_ships_is_allowed(self, name):
        cfg = Config.fromfile(shipped_configs()[name])
        text = ''.join(
            f'{key} = {cfg.to_dict().get(key)!r}\n'
            for key in ('model', 'data_preprocessor', 'test_dataloader')
        )
        settings = settings_in(text)
        assert settings['test_dataloader'] == cfg.test_dataloader.to_dict()
        left_out = {'distill', 'init_cfg', 'pretrained', 'train_cfg'}
        assert set(settings['model']) == set(cfg.model) - left_out

    @pytest.mark.parametrize(
        'backbone',
        [
            dict(type='MultiExpertBackbone', base=dict(type='TIMMBackbone')),
            dict(type='MultiExpertBackbone', base=dict(type='LinearClsHead')),
            dict(type='MultiExpertBackbone', other=dict(type='SwinTransformer')),
            dict(type='ResNet', base=dict(type='SwinTransformer')),
        ],
    )
    def test_only_a_known_base_is_allowed_inside_a_backbone(self, backbone):
        model = dict(type='RIDEClassifier', backbone=backbone)
        text = f'model = {model!r}\ntest_dataloader = dict()\n'
        with pytest.raises(ValueError, match='where they belong, got'):
            settings_in(text)

    def test_a_usual_network_is_allowed(self):
        model = dict(
            type='ImageClassifier',
            pretrained='https://x/y.pth',
            backbone=dict(
                type='ResNet',
                depth=18,
                norm_cfg=dict(type='BN'),
                init_cfg=dict(type='Pretrained', checkpoint='y.pth'),
            ),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type='LinearClsHead',
                num_classes=5,
                in_channels=512,
                loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
            ),
            train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)),
        )
        dataset = dict(type='CustomDataset', data_root='x', ann_file='meta/test.txt')
        loader = dict(dataset=dict(type='LongTailed', dataset=dataset))
        got = settings_in(f'model = {model!r}\ntest_dataloader = {loader!r}\n')
        assert got['model']['backbone'] == dict(
            type='ResNet', depth=18, norm_cfg=dict(type='BN')
        )
        assert set(got['model']) == {'type', 'backbone', 'neck', 'head'}
        assert got['test_dataloader'] == loader

    @pytest.mark.parametrize(
        ('setting', 'message'),
        [
            (dict(type='CustomDataset', ann_file='x.pkl'), "unpickled, got 'x.pkl'"),
            (dict(type='CustomDataset', ann_file='x.PKL'), "unpickled, got 'x.PKL'"),
            (dict(type='CustomDataset', ann_file='x.json'), 'ann_file of text'),
            (dict(type='CustomDataset', ann_file=['x.txt']), 'ann_file of text'),
            (dict(type='BaseDataset', ann_file='x.json'), "got 'BaseDataset'"),
            (dict(type='CIFAR10', data_root='x'), "got 'CIFAR10'"),
            (dict(type='LongTailed', dataset=dict(type='CIFAR10')), "got 'CIFAR10'"),
            (dict(type=['Digits']), 'data set of type'),
            ('Digits', 'Digits as dict'),
            (dict(type='Digits', serialize_data=dict(type='x')), 'known settings'),
            (dict(type='Digits', metainfo=dict(a=dict(type='x'))), 'plain values'),
            (dict(type='Digits', pipeline=[dict(type='LoadAnnotations')]), 'transform'),
            (dict(type='Digits', pipeline='x'), 'list of transforms'),
            (
                dict(
                    type='Digits',
                    pipeline=[
                        dict(
                            type='LoadImageFromFile',
                            file_client_args=dict(backend='memcached', sys_path='.'),
                        )
                    ],
                ),
                "got 'file_client_args'",
            ),
        ],
    )
    def test_data_of_other_kinds_are_refused(self, setting, message):
        text = "model = dict(type='ImageClassifier')\ntest_dataloader = {}\n"
        loader = dict(dataset=setting)
        with pytest.raises(ValueError, match=message) as err:
            settings_in(text.replace('{}', repr(loader)))
        assert str(err.value).endswith('put the config beside the checkpoint')

    @pytest.mark.parametrize(
        ('setting', 'message'),
        [
            (dict(type='HuggingFaceClassifier', model_name='x'), 'model of type'),
            (dict(backbone=dict(type='TIMMBackbone', model_name='x')), 'where they'),
            (dict(backbone=dict(type='HuggingFaceClassifier')), 'where they belong'),
            (dict(backbone=dict(type='MAEViT')), 'where they belong'),
            (dict(backbone=dict(type='LinearClsHead')), "got 'LinearClsHead'"),
            (dict(head=dict(type='ClsHead', loss=dict(type='CLIP'))), "got 'CLIP'"),
            (dict(head=dict(type=1)), 'where they belong, got 1'),
            (dict(other=dict(type='ReLU')), "got 'ReLU'"),
            (dict(head=dict(type='ClsHead', x='weights.pth')), 'unpickled'),
            (dict(data_preprocessor=dict(type='CLIP')), 'data_preprocessor of type'),
            (dict(data_preprocessor=dict(hooks={})), 'known settings'),
            (dict(x={'a {{ b }}': 1}), 'plain strings'),
        ],
    )
    def test_models_of_other_kinds_are_refused(self, setting, message):
        model = {'type': 'ImageClassifier', **setting}
        with pytest.raises(ValueError, match=message):
            settings_in(f'model = {model!r}\ntest_dataloader = dict()\n')

    @pytest.mark.parametrize(
        ('loader', 'message'),
        [
            (dict(worker_init_fn=dict(type='x')), 'known settings'),
            (dict(sampler=dict(type='RepeatAugSampler')), 'sampler of type'),
            (dict(collate_fn=dict(type='torch.load')), 'collate_fn of type'),
        ],
    )
    def test_loaders_of_other_kinds_are_refused(self, loader, message):
        text = f"model = dict(type='ImageClassifier')\ntest_dataloader = {loader!r}\n"
        with pytest.raises(ValueError, match=message):
            settings_in(text)

    def test_no_text_of_it_is_a_template(self, tmp_path):
        canary = tmp_path / 'canary'
        value = (
            '{{$NOPE:Z|\\\'+str(__import__("os").system("touch '
            + str(canary)
            + '"))#}}'
        )
        model = dict(type='ImageClassifier', backbone=dict(type='ResNet', x=value))
        with pytest.raises(ValueError, match='expected plain strings'):
            settings_in(f'model = {model!r}\ntest_dataloader = dict()\n')
        # Not even if that check were not there.
        got = config_from(dict(model=model, test_dataloader={}))
        assert got.model.backbone.x == value
        assert not canary.exists()

    def test_writes_no_files(self):
        text = (
            "model = dict(type='ImageClassifier')\ntest_dataloader = dict()\n"
            "test_evaluator = [dict(type='ShotAccuracy', csv='/etc/x', many=50), "
            "dict(type='DumpResults', out_file_path='/etc/y.pkl')]\n"
            "default_hooks = dict(x=dict(type='CheckpointHook', out_dir='/etc'))\n"
        )
        settings = settings_in(text)
        assert settings['test_evaluator'] == [dict(type='ShotAccuracy', many=50)]
        assert 'default_hooks' not in settings

    def test_its_name(self):
        assert name_in(dict(experiment_name=f'{TWO}_20260102_030405')) == TWO
        assert name_in({}) is None
