import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from ride_mm.cli.configs.schedule import scale_schedule

SCRIPT = Path(__file__).parents[2] / 'tools' / 'quickstart.py'
METRICS = {'shot_accuracy/all': 81.04, 'shot_accuracy/many': 99.5}
CLASSES = """class_index,class_name,shots,images,correct,accuracy
0,zero,140,30,30,100.0000
1,one,7,30,15,50.0000
"""


@pytest.fixture
def quickstart():
    spec = importlib.util.spec_from_file_location('quickstart', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules['quickstart'] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules['quickstart']


@pytest.fixture
def run(quickstart, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text('train_cfg = dict(max_epochs=4)\n')
    return quickstart.Run('CE', config, tmp_path / 'run')


@pytest.fixture
def calls(quickstart, run, monkeypatch):
    """Replace the tools by functions that write what they would."""
    calls = []

    def call(tool, arguments, options, device):
        calls.append(tool)
        if tool == 'train.py':
            run.checkpoint.write_text('weights')
        else:
            (run.folder / 'classes.csv').write_text(CLASSES)
            (run.folder / 'test.json').write_text(json.dumps({'metrics': METRICS}))

    monkeypatch.setattr(quickstart, 'call', call)
    monkeypatch.setattr(quickstart, 'complexity', lambda run: (1000, 1, 2_000_000))
    return calls


def measure(quickstart, run, fresh=False):
    args = argparse.Namespace(fresh=fresh, device='auto')
    return quickstart.measure(run, '[1/1]', args)


def test_a_second_call_reuses_everything(quickstart, run, calls):
    first = measure(quickstart, run)
    assert calls == ['train.py', 'test.py']
    assert measure(quickstart, run) == first
    assert calls == ['train.py', 'test.py']
    assert first['metrics'] == METRICS


def test_a_newer_checkpoint_is_tested_again(quickstart, run, calls):
    measure(quickstart, run)
    later = (run.folder / 'test.json').stat().st_mtime + 10
    os.utime(run.checkpoint, (later, later))
    measure(quickstart, run)
    assert calls == ['train.py', 'test.py', 'test.py']


def test_a_result_that_was_cut_off_is_tested_again(quickstart, run, calls):
    measure(quickstart, run)
    (run.folder / 'test.json').write_text('{"metrics": {')
    assert measure(quickstart, run)['metrics'] == METRICS
    assert calls == ['train.py', 'test.py', 'test.py']


def test_an_interrupted_training_continues(quickstart, run, calls):
    quickstart.claim(run, fresh=False)
    (run.folder / 'epoch_2.pth').write_text('weights')
    measure(quickstart, run)
    assert calls == ['train.py', 'test.py']
    assert (run.folder / 'epoch_2.pth').is_file()


def test_a_changed_config_is_trained_anew(quickstart, run, calls, capsys):
    measure(quickstart, run)
    run.config.write_text('train_cfg = dict(max_epochs=4)\nlr = 1\n')
    measure(quickstart, run)
    assert calls == ['train.py', 'test.py'] * 2
    assert 'config or code changed' in capsys.readouterr().out


def test_changed_code_is_trained_anew(quickstart, run, calls, monkeypatch, tmp_path):
    package = tmp_path / 'ride_mm'
    (package / 'models').mkdir(parents=True)
    monkeypatch.setattr(quickstart.ride_mm, '__file__', str(package / '__init__.py'))
    measure(quickstart, run)
    (package / 'models' / 'head.py').write_text('a = 1\n')
    measure(quickstart, run)
    assert calls == ['train.py', 'test.py'] * 2


def test_a_model_is_trained_anew_if_the_one_it_starts_from_is(
    quickstart, run, calls, tmp_path
):
    config = tmp_path / 'router.py'
    config.write_text('train_cfg = dict(max_epochs=4)\n')
    routed = quickstart.Run('routed', config, tmp_path / 'routed', start=run)
    assert routed.options == {'load_from': str(run.folder / 'epoch_4.pth')}
    before = quickstart.fingerprint(routed)
    assert quickstart.fingerprint(routed) == before
    run.config.write_text('train_cfg = dict(max_epochs=4)\nlr = 1\n')
    assert quickstart.fingerprint(routed) != before


def test_the_mean_cost_of_a_routed_model_is_the_metric_s(
    quickstart, run, calls, monkeypatch
):
    usage = {'expert_usage/mean_experts': 1.5, 'expert_usage/mean_macs': 1.25}
    monkeypatch.setitem(METRICS, 'expert_usage/mean_macs', 1.25)
    monkeypatch.setitem(METRICS, 'expert_usage/mean_experts', 1.5)
    result = measure(quickstart, run)
    assert result['metrics'].items() >= usage.items()
    assert (result['mean_experts'], result['macs']) == (1.5, 1_250_000)


def test_fresh_trains_anew(quickstart, run, calls):
    measure(quickstart, run)
    measure(quickstart, run, fresh=True)
    assert calls == ['train.py', 'test.py'] * 2


def test_a_folder_with_other_files_is_left_alone(quickstart, run, calls):
    run.folder.mkdir()
    (run.folder / 'thesis.tex').write_text('')
    with pytest.raises(SystemExit, match='choose another --work-dir'):
        measure(quickstart, run, fresh=True)
    assert (run.folder / 'thesis.tex').is_file()
    assert calls == []


def test_a_tool_that_fails_is_named(quickstart):
    with pytest.raises(SystemExit, match='train.py failed with exit status 2'):
        quickstart.call('train.py', ['--no-such-option'], {}, 'cpu')


def test_the_schedule_is_scaled():
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


def test_the_report_has_a_table_a_file_and_a_picture(
    quickstart, run, calls, capsys, tmp_path
):
    result = measure(quickstart, run) | dict(images_per_second=1234.5)
    quickstart.report([result], tmp_path)
    assert json.loads((tmp_path / 'results.json').read_text()) == {'results': [result]}
    assert (tmp_path / 'accuracy_by_class.png').is_file()
    row = '| CE    | 81.0 | 99.5 |      - |   - |     1.00 k |       1 | 2.00 M |'
    assert f'{row}    1,234 |' in capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_the_whole_runs(tmp_path):
    command = [sys.executable, str(SCRIPT), '--work-dir', 'w', '--epochs', '1']
    command += ['--device', 'cpu']
    first, second = (
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stdout + first.stderr
    assert 'Training RIDE for 1 epochs' in first.stdout
    assert second.returncode == 0, second.stdout + second.stderr
    assert 'Training' not in second.stdout
    assert first.stdout.split('| model')[1] == second.stdout.split('| model')[1]
    results = json.loads((tmp_path / 'w' / 'results.json').read_text())['results']
    assert [result['name'] for result in results] == ['CE', 'RIDE', 'RIDE, routed']
    assert all('shot_accuracy/few' in result['metrics'] for result in results)
    assert all(result['images_per_second'] > 0 for result in results)
    assert [result['mean_experts'] for result in results[:2]] == [1, 3]
    shares = [results[2]['metrics'][f'expert_usage/share_{k}'] for k in (1, 2, 3)]
    used = sum(k * share / 100 for k, share in enumerate(shares, 1))
    assert results[2]['mean_experts'] == pytest.approx(used)
    assert (tmp_path / 'w' / 'accuracy_by_class.png').is_file()
