"""Options of the tools: what is refused, what is scaled, how errors are told."""

import argparse
import subprocess
import sys

import pytest
from mmengine.config import Config

from ride_mm.cli import train_main
from ride_mm.cli.configs.loading import load_config
from ride_mm.cli.configs.options import merge_options
from ride_mm.cli.configs.schedule import scale_schedule
from ride_mm.cli.errors import UsageError
from ride_mm.cli.program import PATIENCE, run_main
from ride_mm.cli.runs import testing
from ride_mm.cli.runs.runner import add_common_options
from ride_mm.cli.runs.training import make_parser


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tool')
    add_common_options(parser)
    return parser


class TestConfigOptions:
    @pytest.mark.parametrize(
        ('text', 'value'),
        [
            ('own data/bird photos', 'own data/bird photos'),
            ('[1, 2]', [1, 2]),
            ('1,2', [1, 2]),
            ('0.5', 0.5),
            ('None', None),
            ('true', True),
        ],
    )
    def test_values_are_read_and_spaces_of_a_path_stay(self, text, value):
        args = parser().parse_args(['--cfg-options', f'data_root={text}'])
        assert args.cfg_options == {'data_root': value}

    @pytest.mark.parametrize(
        ('option', 'message'),
        [
            ('optim_wraper.clip_grad', 'did you mean optim_wrapper'),
            ('xyz', "got 'xyz'$"),
            ('param_scheduler.5.end', 'settings that fit the config'),
        ],
    )
    def test_what_is_no_setting_is_refused(self, option, message):
        cfg = Config({'optim_wrapper': {}, 'param_scheduler': [{}]})
        with pytest.raises(UsageError, match=message):
            merge_options(cfg, {option: 1})

    def test_settings_of_config_and_runner_are_taken(self):
        cfg = Config({'of_mine': {'a': 1}})
        options = {'of_mine.a': 2, 'randomness.seed': 3, 'tta_model.type': 'A'}
        merge_options(cfg, options)
        assert cfg.of_mine.a == 2
        assert cfg.randomness.seed == 3
        assert cfg.tta_model.type == 'A'

    def test_a_variable_is_changed_wherever_it_stands(self):
        cfg = load_config(
            make_parser().parse_args(
                ['ride_r50_custom', '--cfg-options', 'data_root=my photos']
                + ['val_dataloader.dataset.data_root=other']
            )
        )
        assert cfg.data_root == 'my photos'
        assert cfg.train_dataloader.dataset.dataset.data_root == 'my photos'
        assert cfg.test_dataloader.dataset.data_root == 'my photos'
        assert cfg.val_dataloader.dataset.data_root == 'other'

    def test_so_is_a_part_of_a_list_or_dictionary(self):
        shots, pipeline = dict(many=100, few=20), [dict(type='Resize', scale=32)]
        cfg = Config(
            dict(
                shots=shots,
                train_pipeline=pipeline,
                chance=dict(interval=10),
                train_dataloader=dict(dataset=dict(pipeline=pipeline)),
                val_evaluator=[dict(type='A'), dict(type='B', **shots)],
                default_hooks=dict(logger=dict(type='L', interval=10)),
            )
        )
        merge_options(
            cfg,
            {'shots.many': 5, 'train_pipeline.0.scale': 64, 'chance.interval': 1},
        )
        assert cfg.val_evaluator[1] == dict(type='B', many=5, few=20)
        assert cfg.train_dataloader.dataset.pipeline[0].scale == 64
        assert (cfg.shots.many, cfg.train_pipeline[0].scale) == (5, 64)
        assert cfg.default_hooks.logger.interval == 10

    def test_a_variable_that_stands_nowhere_is_refused(self):
        cfg = Config({'size': 3, 'model': {'size': 4, 'scale': 3}})
        with pytest.raises(UsageError, match='size: .*, got a variable'):
            merge_options(cfg, {'size': 5})

    @pytest.mark.parametrize('option', ['train_cfg', '=1', 'a=[1,'])
    def test_what_is_no_option_is_one_line(self, option, capsys):
        with pytest.raises(SystemExit) as err:
            parser().parse_args(['--cfg-options', option])
        assert err.value.code == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith('tool: error: argument --cfg-options: ')

    def test_example_of_the_help(self):
        example = 'optim_wrapper.clip_grad.max_norm=5'
        assert example in ''.join(parser().format_help().split())
        args = make_parser().parse_args(['ride_r20_digitslt', '--cfg-options', example])
        assert load_config(args).optim_wrapper.clip_grad == {'max_norm': 5}


class TestEpochs:
    def test_schedule_is_scaled_and_options_win(self):
        args = make_parser().parse_args(
            [
                *('ride_r20_digitslt', '--epochs', '20', '--cfg-options'),
                'param_scheduler.1.milestones=[3,4]',
            ]
        )
        cfg = load_config(args, args.epochs)
        assert cfg.train_cfg.max_epochs == 20
        assert cfg.train_cfg.val_interval == 10
        assert cfg.param_scheduler[0].end == 1
        assert cfg.param_scheduler[1].milestones == [3, 4]
        assert cfg.default_hooks.reweight.reweight_epoch == 14

    def test_warm_up_and_changes_of_rate(self):
        cfg = Config(
            dict(
                train_cfg=dict(max_epochs=40),
                param_scheduler=[
                    dict(type='LinearLR', start_factor=0.5, begin=0, end=2),
                    dict(type='MultiStepLR', milestones=[28, 36]),
                ],
                default_hooks=dict(reweight=dict(reweight_epoch=28)),
            )
        )
        assert scale_schedule(cfg, None) == {}
        assert scale_schedule(cfg, 40) == {}
        assert scale_schedule(cfg, 10) == {
            'train_cfg.max_epochs': 10,
            'param_scheduler.0.end': 1,
            'param_scheduler.0.start_factor': 1.0,
            'param_scheduler.1.milestones': [7, 9],
            'default_hooks.reweight.reweight_epoch': 7,
        }

    def test_short_schedules(self):
        cfg = Config(
            {
                'train_cfg': {'max_epochs': 100, 'val_interval': 10},
                'param_scheduler': [
                    {'begin': 0, 'end': 5},
                    {'begin': 5, 'end': 100, 'T_max': 95},
                    {'milestones': [60]},
                ],
            }
        )
        assert scale_schedule(cfg, 1) == {
            'train_cfg.max_epochs': 1,
            'train_cfg.val_interval': 1,
            'param_scheduler.0.end': 1,
            'param_scheduler.1.begin': 0,
            'param_scheduler.1.end': 1,
            'param_scheduler.1.T_max': 1,
            'param_scheduler.2.milestones': [1],
        }

    @pytest.mark.parametrize(
        ('length', 'milestone', 'epochs', 'expected'),
        [(200, 180, 70, 63), (100, 60, 205, 123), (30, 27, 130, 117), (30, 20, 4, 2)],
    )
    def test_milestones_are_at_the_same_part(self, length, milestone, epochs, expected):
        cfg = Config(
            {
                'train_cfg': {'max_epochs': length},
                'param_scheduler': {'milestones': [milestone]},
                'default_hooks': {'reweight': {'reweight_epoch': milestone}},
            }
        )
        scaled = scale_schedule(cfg, epochs)
        assert scaled['param_scheduler.milestones'] == [expected]
        assert scaled['default_hooks.reweight.reweight_epoch'] == expected

    def test_single_scheduler(self):
        cfg = Config({'train_cfg': {'max_epochs': 4}, 'param_scheduler': {'T_max': 4}})
        assert scale_schedule(cfg, 2)['param_scheduler.T_max'] == 2

    @pytest.mark.parametrize(
        ('train_cfg', 'epochs'),
        [({'max_epochs': 4}, 0), ({'max_iters': 4}, 2), (None, 2)],
    )
    def test_impossible_lengths_are_refused(self, train_cfg, epochs):
        with pytest.raises(UsageError, match='--epochs: expected'):
            scale_schedule(Config({'train_cfg': train_cfg}), epochs)


class TestErrors:
    def run(self, error: BaseException) -> object:
        def fail(args):
            raise error

        with pytest.raises(SystemExit) as err:
            run_main(fail, parser(), [])
        return err.value.code

    def test_other_processes_let_the_first_one_speak(self, monkeypatch, capsys):
        assert self.run(UsageError('no')) == 'error: no'
        monkeypatch.setenv('RANK', '1')
        waited = []
        monkeypatch.setattr('time.sleep', waited.append)
        # The launcher ends it meanwhile, unless only this process has failed.
        assert self.run(UsageError('no')) == 'error: no'
        assert waited == [PATIENCE]
        assert self.run(KeyboardInterrupt()) == 130
        assert capsys.readouterr().err == ''

    def test_interrupted(self, capsys):
        assert self.run(KeyboardInterrupt()) == 130
        assert capsys.readouterr().err == 'interrupted\n'

    def test_interrupted_while_a_config_is_formatted(self, capsys):
        def fail(args):
            try:
                raise KeyboardInterrupt
            except:  # noqa: E722, as MMEngine has it
                raise SyntaxError('Failed to format the config file') from None

        with pytest.raises(SystemExit) as err:
            run_main(fail, parser(), [])
        assert err.value.code == 130
        assert capsys.readouterr().err == 'interrupted\n'

    def test_a_reader_that_has_gone_is_no_error_to_tell(self):
        code = (
            'import sys\n'
            'from ride_mm.cli.program import run_main\n'
            'from ride_mm.cli.runs.runner import add_common_options\n'
            'import argparse\n'
            'parser = argparse.ArgumentParser()\n'
            'add_common_options(parser)\n'
            'def talk(args):\n'
            '    while True:\n'
            '        print("word " * 1000, flush=True)\n'
            'run_main(talk, parser, [])\n'
        )
        talker = subprocess.Popen(
            [sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert talker.stdout.read(4) == b'word'
        talker.stdout.close()
        assert b'Traceback' not in talker.stderr.read()
        assert talker.wait() == 1

    def test_errors_of_files_name_them(self):
        error = OSError(28, 'No space left on device', 'epoch_1.pth')
        assert self.run(error) == 'error: epoch_1.pth: No space left on device'

    def test_other_errors_keep_their_traceback(self):
        def fail(args):
            raise OSError('unknown')

        with pytest.raises(OSError, match='unknown'):
            run_main(fail, parser(), [])

    @pytest.mark.parametrize('option', ['--json', '--out'])
    def test_results_of_a_test_that_could_not_be_written(self, option, tmp_path):
        (tmp_path / 'folder.pkl').mkdir()
        argv = ['ride_r20_digitslt', 'none.pth', option, str(tmp_path / 'folder.pkl')]
        with pytest.raises(SystemExit, match=f'{option}: expected a file, got the'):
            run_main(testing.test, testing.make_parser(), argv)

    def test_predictions_of_a_test_are_a_pickle(self):
        argv = ['ride_r20_digitslt', 'none.pth', '--out', 'predictions.txt']
        with pytest.raises(SystemExit, match=r'--out: expected a file \*.pkl, got'):
            run_main(testing.test, testing.make_parser(), argv)

    def test_work_dir_that_is_a_file(self, tmp_path):
        (tmp_path / 'file').write_text('')
        with pytest.raises(SystemExit) as err:
            train_main(['ride_r20_digitslt', '--work-dir', str(tmp_path / 'file')])
        assert err.value.code == f'error: {tmp_path / "file"}: File exists'
