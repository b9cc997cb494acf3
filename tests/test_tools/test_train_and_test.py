"""tools/train.py and tools/test.py, called as functions and as programs."""

import json
import pickle
from unittest import mock

import pytest
import torch
from engine_helpers import (
    REPOSITORY,
    checkpoint_digest,
    error_of,
    files_in,
    forget_runs,
    needs_compiler,
    run_tool,
    tiny_config,
)
from mmengine.config import Config, ConfigDict

from ride_mm.cli import test_main as main_of_test
from ride_mm.cli import train_main
from ride_mm.cli.errors import UsageError
from ride_mm.cli.runs.processes import check_launcher
from ride_mm.cli.runs.training import set_precision
from ride_mm.engine.checkpoint_io import load_checkpoint_file


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    cfg = tiny_config('unused', train_cfg__max_epochs=2)
    cfg.pop('work_dir')
    cfg.dump(path)
    return path


@pytest.fixture(scope='module')
def trained(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    train_main([str(config), '--work-dir', str(folder)])
    return folder


@pytest.fixture(autouse=True)
def quick_and_separate_runs(monkeypatch):
    """Formatting the config takes most of the time of a tiny run."""
    monkeypatch.setattr(Config, 'pretty_text', '')
    forget_runs()


class TestTrain:
    def test_default_work_dir(self, config, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        train_main([str(config), '--resume', '--cfg-options', 'train_cfg.max_epochs=1'])
        assert 'epoch_1.pth' in files_in(tmp_path / 'work_dirs' / 'tiny')
        said = capsys.readouterr().out
        assert (
            'No checkpoint in ./work_dirs/tiny to resume: starting from scratch' in said
        )
        assert 'Epoch(train) [1][3/3]' in said
        assert 'Auto resumed' not in said

    def test_resume_from_a_checkpoint(self, config, trained, tmp_path, capsys):
        checkpoint = trained / 'epoch_2.pth'
        train_main(
            [str(config), '--work-dir', str(tmp_path), '--resume', str(checkpoint)]
        )
        said = capsys.readouterr().out
        assert f'Resuming from {checkpoint}' in said
        assert 'resumed epoch: 2, iter: 6' in said
        assert 'Epoch(train)' not in said

    def test_nothing_to_resume_keeps_the_weights_to_start_from(
        self, config, trained, tmp_path, capsys
    ):
        options = [
            f'load_from={trained / "epoch_2.pth"}',
            'train_cfg.max_epochs=1',
            'optim_wrapper.optimizer.lr=0',
        ]
        train_main(
            [str(config), '--resume', '--work-dir', str(tmp_path), '--cfg-options']
            + options
        )
        assert f'starting from the weights of {trained}' in capsys.readouterr().out
        before = load_checkpoint_file(trained / 'epoch_2.pth')['state_dict']
        after = load_checkpoint_file(tmp_path / 'epoch_1.pth')['state_dict']
        assert torch.equal(before['head.fc.weight'], after['head.fc.weight'])

    def test_longer_schedule_is_refused(self, config, trained, tmp_path):
        message = error_of(
            train_main, config, '--work-dir', tmp_path, '--resume',
            trained / 'epoch_2.pth', '--cfg-options', 'train_cfg.max_epochs=9',
        )  # fmt: skip
        assert 'max_epochs: expected 2, got 9' in message

    def test_options(self, config, tmp_path):
        train_main(
            [
                *(str(config), '--work-dir', str(tmp_path)),
                *('--amp', 'bf16', '--no-validate', '--auto-scale-lr'),
                *('--no-pin-memory', '--no-persistent-workers', '--local-rank', '0'),
                *('--cfg-options', 'train_cfg.max_epochs=1'),
                *('train_dataloader.batch_size=4', 'default_hooks.schedule_guard=None'),
            ]
        )
        checkpoint = load_checkpoint_file(tmp_path / 'epoch_1.pth')
        # Scaled by 4 / 8, then halved by the warm-up.
        assert checkpoint['optimizer']['param_groups'][0]['initial_lr'] == 0.025
        assert 'training' not in checkpoint
        assert files_in(tmp_path) == ['epoch_1.pth', 'last_checkpoint']

    @needs_compiler
    def test_compile(self, config, tmp_path, capfd):
        options = '--compile', '--amp', 'bf16', '--no-validate', '--epochs', '1'
        train_main([str(config), '--work-dir', str(tmp_path), *options])
        told = capfd.readouterr()
        assert 'The backbone is compiled at the first step' in told.out + told.err
        assert (tmp_path / 'epoch_1.pth').is_file()

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            (['--resume', 'none.pth'], 'expected a checkpoint to resume from'),
            (['--resume', '.'], 'a folder'),
            (['--launcher', 'pytorch'], 'torchrun'),
            (['--cfg-options', 'load_from=none.pth'], 'a checkpoint in load_from'),
        ],
    )
    def test_errors(self, config, tmp_path, monkeypatch, options, message):
        monkeypatch.chdir(tmp_path)
        assert message in error_of(train_main, config, *options)

    def test_missing_config(self):
        assert 'no_such_config' in error_of(train_main, 'no_such_config')

    def test_shipped_config_by_name(self, tmp_path, monkeypatch):
        built = []
        monkeypatch.setattr(
            'ride_mm.cli.runs.training.build_runner',
            lambda cfg: built.append(cfg) or mock.Mock(),
        )
        train_main(['ride_r20_digitslt', '--work-dir', str(tmp_path)])
        (cfg,) = built
        assert cfg.model.type == 'RIDEClassifier'
        loader = cfg.train_dataloader
        assert not loader.persistent_workers and loader.num_workers == 0
        assert loader.collate_fn.type == 'default_collate'

    @pytest.mark.parametrize(
        ('argv', 'amp'),
        [
            (['config'], None),
            (['config', '--amp'], 'auto'),
            (['--amp', 'config'], 'auto'),
            (['--amp', 'bf16', 'config'], 'bf16'),
            (['config', '--amp=fp16', '--no-validate'], 'fp16'),
        ],
    )
    def test_precision_may_be_left_out(self, monkeypatch, argv, amp):
        seen = []
        monkeypatch.setattr('ride_mm.cli.runs.training.train', seen.append)
        train_main(argv)
        assert seen[0].amp == amp
        assert seen[0].config == 'config'

    def test_without_arguments_the_usage_is_told(self, capsys):
        with pytest.raises(SystemExit, match='2'):
            train_main([])
        assert 'usage: train.py' in capsys.readouterr().err

    def test_precision(self, monkeypatch):
        for gpu, precision, kind in (
            ('new', 'auto', 'AutocastOptimWrapper'),
            ('new', 'fp16', 'AmpOptimWrapper'),
            ('old', 'auto', 'AmpOptimWrapper'),
            ('old', 'bf16', 'AutocastOptimWrapper'),
            (None, 'auto', 'AutocastOptimWrapper'),
        ):
            has = dict(is_available=bool(gpu), is_bf16_supported=gpu == 'new')
            for name, value in has.items():
                monkeypatch.setattr(torch.cuda, name, lambda value=value, **_: value)
            wrapper = ConfigDict(type='OptimWrapper', dtype='float16')
            set_precision(wrapper, precision)
            assert wrapper.type == kind
        with pytest.raises(UsageError, match='expected a GPU'):
            set_precision(ConfigDict(), 'fp16')

    def test_processes_without_launcher_are_refused(self, monkeypatch):
        monkeypatch.setenv('WORLD_SIZE', '2')
        with pytest.raises(UsageError, match='--launcher pytorch'):
            check_launcher('none')

    def test_more_processes_than_gpus_are_refused_in_each(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
        names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE')
        for name, value in zip(names, '0022', strict=True):
            monkeypatch.setenv(name, value)
        with pytest.raises(UsageError, match='each of 1 GPUs, got 2'):
            check_launcher('pytorch')


class TestTest:
    def test_json(self, config, trained, tmp_path):
        target = tmp_path / 'made' / 'metrics.json'
        main_of_test(
            [
                *(str(config), str(trained / 'epoch_2.pth')),
                *('--work-dir', str(tmp_path), '--json', str(target)),
                *('--cfg-options', 'test_dataloader.batch_size=7'),
            ]
        )
        content = json.loads(target.read_text())
        assert content['options'] == {'test_dataloader.batch_size': 7}
        assert content['config'] == str(config)
        assert content['checkpoint'] == str(trained / 'epoch_2.pth')
        assert set(content['metrics']) == {'score/nll', 'accuracy/top1'}
        best = load_checkpoint_file(trained / 'epoch_2.pth')['message_hub']
        assert content['metrics']['score/nll'] == pytest.approx(
            best['runtime_info']['best_score'], rel=1e-5
        )

    @pytest.mark.parametrize('option', ['--amp', '--tta'])
    def test_other_ways_of_testing(self, config, trained, tmp_path, option):
        nll = {}
        for name, options in (('plain', []), ('other', [option])):
            target = tmp_path / f'{name}.json'
            forget_runs()
            main_of_test(
                [
                    *(str(config), str(trained / 'epoch_2.pth'), '--json', str(target)),
                    *('--work-dir', str(tmp_path), *options),
                ]
            )
            nll[name] = json.loads(target.read_text())['metrics']['score/nll']
        assert nll['other'] != nll['plain']
        assert nll['other'] == pytest.approx(nll['plain'], rel=0.1)

    def test_out(self, config, trained, tmp_path):
        for item, name in (('pred', 'out.pkl'), ('metrics', 'out.json')):
            forget_runs()
            main_of_test(
                [
                    *(str(config), str(trained / 'epoch_2.pth')),
                    *('--work-dir', str(tmp_path), '--out', str(tmp_path / name)),
                    *('--out-item', item),
                ]
            )
        assert len(pickle.loads((tmp_path / 'out.pkl').read_bytes())) == 13
        assert 'score/nll' in json.loads((tmp_path / 'out.json').read_text())

    def test_show_dir(self, config, trained, tmp_path):
        main_of_test(
            [
                *(str(config), str(trained / 'epoch_2.pth'), '--interval', '5'),
                *('--work-dir', str(tmp_path), '--show-dir', str(tmp_path / 'drawn')),
            ]
        )
        assert len(list((tmp_path / 'drawn').iterdir())) == 2

    def test_damaged_checkpoint(self, config, trained, tmp_path):
        content = (trained / 'epoch_2.pth').read_bytes()
        (tmp_path / 'cut.pth').write_bytes(content[:1000])
        message = error_of(
            main_of_test, config, tmp_path / 'cut.pth', '--work-dir', tmp_path
        )
        assert '1,000 bytes' in message

    @pytest.mark.parametrize(
        ('argv', 'message'),
        [
            (['none.pth'], 'expected a checkpoint, got none.pth: no such file'),
            (['none.pth', '--out-item', 'pred'], 'expected --out FILE'),
            (['none.pth', '--tta', '--show-dir', 'drawn'], 'expected no --show'),
        ],
    )
    def test_errors(self, config, argv, message):
        assert message in error_of(main_of_test, config, *argv)


def test_error_of_the_program_is_short(tmp_path):
    done = run_tool('train.py', 'no_such_config', cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('error: expected the path')
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('tool', ['dist_train.sh', 'dist_test.sh'])
def test_usage_of_the_scripts(tool, tmp_path):
    done = run_tool(tool, 'config', cwd=tmp_path)
    assert done.returncode == 2
    assert 'usage:' in done.stderr
    done = run_tool(tool, 'config', 'checkpoint', 'many', cwd=tmp_path)
    assert done.returncode == 2
    assert 'expected a number of processes' in done.stderr


@pytest.fixture(scope='module')
def trained_by_two(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('two')
    hook = 'default_hooks.data_time'
    done = run_tool(
        'dist_train.sh', config, 2, '--work-dir', folder, '--amp', 'bf16',
        '--cfg-options', f'{hook}.type=DataTimeHook', f'{hook}.share=1e-9',
        f'{hook}.steps=1',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout + done.stderr


class TestTwoProcesses:
    def test_train(self, trained_by_two):
        folder, log = trained_by_two
        assert files_in(folder) == [
            *('best_score_nll_epoch_2.pth', 'epoch_2.pth', 'last_checkpoint'),
        ]
        # 24 images, batches of 8, two processes.
        assert 'Epoch(train) [2][2/2]' in log
        assert 'of a step waits for data, with 0 workers' in log
        checkpoint = load_checkpoint_file(folder / 'epoch_2.pth')
        assert checkpoint['training']['images_per_step'] == 16

    def test_test_equals_a_single_process(self, config, trained_by_two, tmp_path):
        checkpoint = trained_by_two[0] / 'epoch_2.pth'
        files = tmp_path / 'two.json', tmp_path / 'one.json'
        common = '--work-dir', tmp_path, '--json'
        done = run_tool('dist_test.sh', config, checkpoint, 2, *common, files[0])
        assert done.returncode == 0, done.stderr
        main_of_test([str(a) for a in (config, checkpoint, *common, files[1])])
        two, one = (json.loads(file.read_text())['metrics'] for file in files)
        assert two['accuracy/top1'] == one['accuracy/top1']
        assert two['score/nll'] == pytest.approx(one['score/nll'], rel=1e-6)
        trained = load_checkpoint_file(checkpoint)['message_hub']['runtime_info']
        assert trained['best_score'] == pytest.approx(one['score/nll'], rel=1e-6)

    @pytest.mark.slow
    def test_resumed_run_equals_the_straight_one(self, config, tmp_path):
        """Scores included, hence with the same BatchNorm statistics everywhere."""
        straight, resumed = tmp_path / 'straight', tmp_path / 'resumed'
        done = run_tool(
            'dist_train.sh', config, 2, '--work-dir', straight,
            '--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=-1',
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        done = run_tool(
            'dist_train.sh', config, 2, '--work-dir', resumed,
            '--resume', straight / 'epoch_1.pth',
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        digests = {checkpoint_digest(d / 'epoch_2.pth') for d in (straight, resumed)}
        assert len(digests) == 1


def test_scripts_choose_a_sensible_number_of_threads(tmp_path):
    """A fake interpreter prints what it was called with."""
    fake = tmp_path / 'python'
    fake.write_text('#!/bin/sh\necho "threads=$OMP_NUM_THREADS $*"\n')
    fake.chmod(0o755)
    env = {'PYTHON': str(fake), 'OMP_NUM_THREADS': ''}
    done = run_tool('dist_train.sh', 'config', 4096, '--amp', env=env, cwd=tmp_path)
    assert 'threads=1 -m torch.distributed.run --standalone' in done.stdout
    assert '--nproc-per-node 4096' in done.stdout
    assert f'{REPOSITORY}/tools/train.py config --amp --launcher pytorch' in done.stdout
    env = {**env, 'NNODES': '2', 'NODE_RANK': '1', 'MASTER_ADDR': 'host', 'PORT': '7'}
    done = run_tool('dist_test.sh', 'config', 'ckpt', 1, env=env, cwd=tmp_path)
    assert '--nnodes 2 --node-rank 1 --master-addr host --master-port 7' in done.stdout
    assert f'{REPOSITORY}/tools/test.py config ckpt --launcher pytorch' in done.stdout
