"""tools/quickstart.py: what is done is not repeated, what has changed is."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ride_mm.cli.errors import UsageError
from ride_mm.cli.experiments.work import write_command
from ride_mm.cli.files import write_json
from ride_mm.cli.quickstart import claim, cost, program, work
from ride_mm.cli.quickstart.claim import check_folder
from ride_mm.cli.quickstart.plan import plan_runs

SCRIPT = Path(__file__).parents[2] / 'tools' / 'quickstart.py'
METRICS = {'shot_accuracy/all': 81.04, 'shot_accuracy/many': 99.5}
COST = dict(parameters=1000, mean_experts=1, macs=2_000_000)
CLASSES = """class_index,class_name,shots,images,correct,accuracy
0,zero,140,30,30,100.0000
1,one,7,30,15,50.0000
"""
ONE_MODEL = ['train.py', 'test.py']


@pytest.fixture
def runs(tmp_path):
    return plan_runs(tmp_path / 'w', epochs=4)


@pytest.fixture
def run(runs):
    return runs[0]


@pytest.fixture
def calls(monkeypatch):
    """Replace the tools by functions that write what they would."""
    calls = []

    def call(command, device):
        tool = Path(command[1]).name
        calls.append(tool)
        folder = Path(command[command.index('--work-dir') + 1])
        if tool == 'train.py':
            last = command[command.index('--epochs') + 1]
            (folder / f'epoch_{last}.pth').write_text(f'weights {time.time_ns()}')
        else:
            result = Path(command[command.index('--json') + 1])
            result.with_name('classes.csv').write_text(CLASSES)
            result.write_text(json.dumps({'metrics': METRICS}))

    monkeypatch.setattr(work, 'call', call)
    return calls


@pytest.fixture
def no_cost(monkeypatch):
    """The models are not built: their checkpoints are none."""
    monkeypatch.setattr(program, 'cost_of', lambda run, metrics: COST)
    speeds = {'CE': 3.0, 'RIDE': 2.0, 'RIDE, routed': 1234.5}
    monkeypatch.setattr(program, 'speeds_of', lambda runs, folder, device: speeds)


def finish(run, fresh=False):
    claim.claim(run, fresh)
    return work.finish(run, '[1/1]', 'auto')


def quickstart(*argv):
    """Run the tool in this process and return its exit status."""
    try:
        program.quickstart_main([str(argument) for argument in argv])
    except SystemExit as err:
        return err.code
    return 0


def test_a_second_call_reuses_everything(run, calls):
    assert finish(run) == METRICS
    assert calls == ONE_MODEL
    assert finish(run) == METRICS
    assert calls == ONE_MODEL


def test_a_newer_checkpoint_is_tested_again(run, calls):
    finish(run)
    later = (run.work_dir / 'test.json').stat().st_mtime + 10
    os.utime(run.checkpoint, (later, later))
    finish(run)
    assert calls == [*ONE_MODEL, 'test.py']


def test_what_was_removed_is_made_again(run, calls):
    finish(run)
    (run.work_dir / 'classes.csv').unlink()
    finish(run)
    assert calls == [*ONE_MODEL, 'test.py']
    run.checkpoint.unlink()
    finish(run)
    assert calls == [*ONE_MODEL, 'test.py', *ONE_MODEL]


def test_an_interrupted_training_continues(run, calls):
    claim.claim(run, fresh=False)
    (run.work_dir / 'epoch_2.pth').write_text('weights')
    finish(run)
    assert calls == ONE_MODEL
    assert (run.work_dir / 'epoch_2.pth').is_file()
    assert '--resume' in run.train_command()


def test_a_changed_config_is_trained_anew(run, calls, capsys):
    finish(run)
    finish(replace(run, content={**run.content, 'batch_size': 5}))
    assert calls == ONE_MODEL * 2
    assert 'config or code changed' in capsys.readouterr().out


def test_changed_code_is_trained_anew(run, calls, monkeypatch, tmp_path):
    (tmp_path / 'models').mkdir()
    monkeypatch.setattr(claim, 'PACKAGE', tmp_path)
    finish(run)
    (tmp_path / 'models' / 'head.py').write_text('a = 1\n')
    finish(run)
    assert calls == ONE_MODEL * 2


def test_a_model_is_trained_anew_if_the_one_it_starts_from_is(runs, calls, capsys):
    _, ride, routed = runs
    assert f'load_from={ride.checkpoint}' in routed.train_command()
    finish(ride)
    finish(routed)
    finish(ride, fresh=True)
    finish(routed)
    assert calls == ONE_MODEL * 4
    out = capsys.readouterr().out
    assert 'RIDE, routed: config, code or starting weights changed' in out


def test_fresh_trains_anew(run, calls):
    finish(run)
    finish(run, fresh=True)
    assert calls == ONE_MODEL * 2


def test_another_length_is_another_training_but_for_the_routers(tmp_path):
    def names(epochs):
        return [run.checkpoint_name for run in plan_runs(tmp_path, epochs)]

    assert names(None) == ['epoch_40.pth', 'epoch_40.pth', 'epoch_10.pth']
    assert names(20) == ['epoch_20.pth', 'epoch_20.pth', 'epoch_10.pth']
    assert names(3) == ['epoch_3.pth'] * 3
    assert plan_runs(tmp_path, 40) == plan_runs(tmp_path, None)
    assert plan_runs(tmp_path, 20)[2].train_options == ()


def test_a_folder_with_other_files_is_left_alone(runs, calls, tmp_path):
    folder = runs[2].work_dir
    folder.mkdir(parents=True)
    (folder / 'thesis.tex').write_text('')
    status = quickstart('--work-dir', tmp_path / 'w', '--fresh')
    assert 'one with other files; choose another --work-dir' in status
    assert calls == []
    assert list((tmp_path / 'w').rglob('*')) == [folder, folder / 'thesis.tex']


def test_results_of_another_schedule_are_left_alone(calls, no_cost, tmp_path):
    folder = tmp_path / 'w'
    assert quickstart('--work-dir', folder, '--epochs', '4') == 0
    before, done = sorted(folder.rglob('*')), len(calls)
    status = quickstart('--work-dir', folder, '--epochs', '5')
    assert 'expected --epochs 4, as before, got --epochs 5' in status
    assert 'expected --epochs 4, as before, got the full sch' in quickstart(
        '--work-dir', folder
    )
    assert sorted(folder.rglob('*')) == before and len(calls) == done
    assert quickstart('--work-dir', folder, '--epochs', '5', '--fresh') == 0
    assert len(calls) == 2 * done


def test_a_training_that_never_began_may_get_another_schedule(runs, tmp_path):
    write_json({'config': runs[0].config}, runs[0].work_dir / 'quickstart.json')
    write_command(runs[0], {})
    for run in plan_runs(tmp_path / 'w', epochs=5):
        check_folder(run, fresh=False)
    (runs[0].work_dir / 'epoch_1.pth').write_text('')
    (runs[0].work_dir / 'last_checkpoint').write_text(
        str(runs[0].work_dir / 'epoch_1.pth')
    )
    with pytest.raises(UsageError, match='expected --epochs 4, as before'):
        check_folder(plan_runs(tmp_path / 'w', epochs=5)[0], fresh=False)


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--work-dir', 'new', '--epochs', '0'], '--epochs: expected at least 1, got'),
        (['--work-dir', ''], "--work-dir: expected a folder's name, got ''"),
        (['--work-dir', 'file'], '--work-dir: expected a folder, got the file file'),
    ],
)
def test_bad_options_are_told_before_anything_starts(
    argv, message, calls, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('')
    assert message in quickstart(*argv)
    assert os.listdir(tmp_path) == ['file']


def test_a_tool_that_fails_is_named(run):
    command = work.job_of(run).steps[0].command
    with pytest.raises(UsageError, match='train.py failed with exit status 2'):
        work.call([*command[:2], '--no-such-option'], 'cpu')


def test_a_training_without_its_last_checkpoint_is_told(run, monkeypatch):
    monkeypatch.setattr(work, 'call', lambda command, device: None)
    with pytest.raises(UsageError, match='expected epoch_4.pth after training'):
        finish(run)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_told(tmp_path, monkeypatch, capsys, request, number):
    # A shell lets programs in the background ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupt(command, device):
        os.kill(os.getpid(), number)
        time.sleep(60)

    monkeypatch.setattr(work, 'call', interrupt)
    assert quickstart('--work-dir', tmp_path / 'w') == 130
    assert 'Interrupted; the same command continues.' in capsys.readouterr().err
    assert quickstart('--work-dir', tmp_path / 'w', '--fresh') == 130
    assert 'the same command without --fresh continues.' in capsys.readouterr().err


def test_the_mean_cost_of_a_routed_model_is_the_metric_s(runs, monkeypatch):
    monkeypatch.setattr(cost, 'load_weights', lambda model, checkpoint: None)
    full = cost.cost_of(runs[2], {})
    assert full['mean_experts'] == 3
    means = {'expert_usage/mean_experts': 1.5, 'expert_usage/mean_macs': 1.25}
    mean = cost.cost_of(runs[2], means)
    assert mean == {**full, 'mean_experts': 1.5, 'macs': 1_250_000}


def test_the_speed_is_measured_once_for_each_checkpoint(runs, tmp_path, monkeypatch):
    measured = []

    def images_per_second(models, images, seconds):
        measured.append(images.shape)
        return [1.0, 2.0, 3.0]

    monkeypatch.setattr(cost, 'load_weights', lambda model, checkpoint: None)
    monkeypatch.setattr(cost, 'images_per_second', images_per_second)
    for run in runs:
        run.work_dir.mkdir(parents=True)
        run.checkpoint.write_text('weights')
    speeds = {'CE': 1.0, 'RIDE': 2.0, 'RIDE, routed': 3.0}
    assert cost.speeds_of(runs, tmp_path, 'cpu') == speeds
    assert cost.speeds_of(runs, tmp_path, 'cpu') == speeds
    assert measured == [(300, 3, 16, 16)]
    os.utime(runs[1].checkpoint, (1, 1))
    assert cost.speeds_of(runs, tmp_path, 'cpu') == speeds
    assert len(measured) == 2


def test_the_report_has_a_table_a_file_and_a_picture(calls, no_cost, capsys, tmp_path):
    folder = tmp_path / 'w'
    assert quickstart('--work-dir', folder, '--epochs', '4') == 0
    assert calls == ONE_MODEL * 3
    results = json.loads((folder / 'results.json').read_text())['results']
    assert [result['name'] for result in results] == ['CE', 'RIDE', 'RIDE, routed']
    assert results[0].items() >= {'metrics': METRICS, **COST}.items()
    assert (folder / 'accuracy_by_class.png').is_file()
    out = capsys.readouterr().out
    assert '[2/3] Training RIDE for 4 epochs: ' in out
    row = '| RIDE, routed | 81.0 | 99.5 |      - |   - |     1.00 k |       1 |'
    assert f'{row} 2.00 M |    1,234 |' in out.splitlines()


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
