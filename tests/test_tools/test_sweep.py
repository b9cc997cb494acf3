"""tools/sweep.py: each seed once, whatever interrupts; the figures are its tests'."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_training
import pytest
from engine_helpers import REPOSITORY, forget_runs, run_tool
from mmengine.config import Config

from ride_mm.cli import sweep as program
from ride_mm.cli import train_main
from ride_mm.cli.experiments import work
from ride_mm.engine.checkpoint_io import load_checkpoint_file

CONFIG, PLAIN = 'ride_r20_digitslt', 'ce_r20_digitslt'
SHORT = ['train_cfg.max_epochs=2']


@pytest.fixture
def fake(monkeypatch):
    """Trainings that take no time."""
    command = [sys.executable, '-S', fake_training.__file__]
    monkeypatch.setattr(work, 'executable', lambda arguments: [*command, *arguments])


def sweep(
    folder: Path, *arguments: str, options: list[str] = SHORT, config: str = CONFIG
) -> int:
    """Run the tool in this process and return its exit status."""
    argv = [config, '--work-dir', str(folder), *arguments, '--cfg-options', *options]
    try:
        program.sweep_main(argv)
    except SystemExit as err:
        return err.code
    return 0


def epochs(folder: Path, seed: int) -> list[str]:
    return (folder / f'seed_{seed}' / 'epochs.txt').read_text().split()


def test_mean_deviation_and_runs(fake, tmp_path, capsys):
    assert sweep(tmp_path, '--seeds', '0', '1', '2', '--jobs', '2') == 0
    values = [fake_training.accuracy(seed, CONFIG) for seed in range(3)]
    content = json.loads((tmp_path / 'sweep.json').read_text())
    figure = content['metrics']['shot_accuracy/all']
    assert figure == {'mean': pytest.approx(values[1]), 'sd': 3.0, 'values': values}
    for seed, run in enumerate(content['runs']):
        test = json.loads((tmp_path / f'seed_{seed}' / 'test.json').read_text())
        assert run['metrics'] == test['metrics']
        assert run['sessions'][0]['device'] == 'an abacus'
    row = next(
        line
        for line in capsys.readouterr().out.splitlines()
        if 'shot_accuracy/all' in line
    )
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    assert cells[1:] == [f'{values[1]:.2f}', '3.00', *(f'{v:.2f}' for v in values)]


def test_metrics_that_are_no_numbers_are_left_out(fake, tmp_path):
    assert sweep(tmp_path, '--seeds', '0', '1') == 0
    path = tmp_path / 'seed_0' / 'test.json'
    test = json.loads(path.read_text())
    test['metrics'] |= {'confusion_matrix/result': [[3, 1], [0, 4]], 'loss': None}
    path.write_text(json.dumps(test))
    other = tmp_path / 'seed_1' / 'test.json'
    other.write_text(json.dumps(test | {'metrics': test['metrics'] | {'loss': 2.0}}))
    assert sweep(tmp_path, '--seeds', '0', '1') == 0
    content = json.loads((tmp_path / 'sweep.json').read_text())
    assert set(content['metrics']) == {'shot_accuracy/all', 'shot_accuracy/many'}


def test_one_seed_has_no_deviation(fake, tmp_path, capsys):
    assert sweep(tmp_path, '--seeds', '7') == 0
    content = json.loads((tmp_path / 'sweep.json').read_text())
    assert content['metrics']['shot_accuracy/all']['sd'] is None
    assert '|  - |' in capsys.readouterr().out


def test_a_second_call_repeats_nothing_and_adds_seeds(fake, tmp_path):
    assert sweep(tmp_path, '--seeds', '0') == 0
    assert sweep(tmp_path, '--seeds', '0', '1') == 0
    assert epochs(tmp_path, 0) == epochs(tmp_path, 1) == ['1', '2']
    # Neither where the data is nor how it is read makes it another training.
    options = [*SHORT, 'train_dataloader.num_workers=0', 'log_level=ERROR']
    assert sweep(tmp_path, '--seeds', '0', options=options) == 0
    assert epochs(tmp_path, 0) == ['1', '2']


def test_a_failed_seed_is_shown_and_the_others_count(
    fake, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv('FAKE_FAIL', 'seed_1')
    assert sweep(tmp_path, '--seeds', '0', '1', '2') == 1
    out = capsys.readouterr().out
    assert 'the reason of the failure' in out
    assert '1 of 3 failed: seed 1' in out
    content = json.loads((tmp_path / 'sweep.json').read_text())
    assert [run['metrics'] is None for run in content['runs']] == [False, True, False]
    assert len(content['metrics']['shot_accuracy/all']['values']) == 2
    monkeypatch.delenv('FAKE_FAIL')
    assert sweep(tmp_path, '--seeds', '0', '1', '2') == 0
    assert epochs(tmp_path, 1) == ['1', '2']
    assert epochs(tmp_path, 0) == ['1', '2']


def test_ctrl_c_ends_the_trainings_and_a_second_call_goes_on(tmp_path):
    code = (
        'import signal\n'
        'import sys\n'
        # A shell lets what it starts in the background ignore Ctrl-C.
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
        f'sys.path.insert(0, {str(Path(fake_training.__file__).parent)!r})\n'
        'import fake_training\n'
        'from ride_mm.cli import sweep\n'
        'from ride_mm.cli.experiments import work\n'
        'command = [sys.executable, "-S", fake_training.__file__]\n'
        'work.executable = lambda arguments: [*command, *arguments]\n'
        'sweep.sweep_main(sys.argv[1:])\n'
    )
    argv = [sys.executable, '-c', code, CONFIG, '--seeds', '0', '--work-dir']
    argv += [str(tmp_path), '--cfg-options', *SHORT]
    environ = {**os.environ, 'FAKE_HANG': 'seed_0'}
    process = subprocess.Popen(
        argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    started = tmp_path / 'seed_0' / 'last_checkpoint'
    limit = time.monotonic() + 120
    while not started.exists() and time.monotonic() < limit:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert 'interrupted' in out and 'Traceback' not in out
    assert epochs(tmp_path, 0) == ['1']
    del environ['FAKE_HANG']
    done = subprocess.run(argv, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert epochs(tmp_path, 0) == ['1', '2']


@pytest.mark.parametrize(
    ('arguments', 'options', 'message'),
    [
        (['--seeds', '1', '1'], SHORT, '--seeds: expected each once, got [1, 1]'),
        (['--seeds', '-1'], SHORT, '--seeds: expected numbers from 0'),
        (['--jobs', '0'], SHORT, '--jobs: expected at least 1, got 0'),
        ([], ['randomness.seed=3'], 'expected --seeds instead'),
        ([], ['modle.x=3'], 'did you mean model?'),
        (['--json', '/'], SHORT, '--json: expected a file, got the folder /'),
        ([], ['log_level'], '--cfg-options: expected KEY=VALUE, got log_level'),
        (['--epochs', '0'], [], '--epochs: expected at least 1, got 0'),
        (['--epochs', 'one'], [], 'sweep.py: error: argument --epochs: invalid int'),
    ],
)
def test_bad_options_are_told_before_anything_starts(
    tmp_path, capsys, arguments, options, message
):
    folder = tmp_path / 'work'
    options = options or ['log_level=INFO']
    assert sweep(folder, *arguments, options=options) == 2
    assert message in capsys.readouterr().err
    assert not folder.exists()


def test_precision_and_compiling_are_those_of_train_py(fake, tmp_path):
    argv = ['--amp', CONFIG, '--work-dir', str(tmp_path), '--seeds', '0', '--compile']
    program.sweep_main([*argv, '--cfg-options', *SHORT])
    command = json.loads((tmp_path / 'seed_0' / 'command.json').read_text())
    assert command['train_options'] == ['--amp', 'bf16']
    assert command['free'] == [
        'default_hooks.compile.type=CompileHook',
        'default_hooks.compile.enable=True',
    ]
    # How it is computed makes no other training; the precision does.
    assert sweep(tmp_path, '--seeds', '0', '--amp', 'bf16') == 0
    assert sweep(tmp_path, '--seeds', '0') == 2


def test_a_folder_of_another_training_is_refused(fake, tmp_path, capsys):
    assert sweep(tmp_path, '--seeds', '0') == 0
    options = [*SHORT, 'optim_wrapper.optimizer.lr=0.3']
    assert sweep(tmp_path, '--seeds', '0', options=options) == 2
    err = capsys.readouterr().err
    assert 'seed_0: expected the training seed 0 with options' in err
    assert 'lr=0.3' in err
    (tmp_path / 'seed_0').rename(tmp_path / 'seed_4')
    assert sweep(tmp_path, '--seeds', '4') == 2
    assert 'with seed 4 and not 0' in capsys.readouterr().err
    (tmp_path / 'seed_4' / 'command.json').unlink()
    assert sweep(tmp_path, '--seeds', '4') == 2
    assert 'with seed 4 and not 0' in capsys.readouterr().err
    (tmp_path / 'seed_4' / 'command.json').write_text('{')
    assert sweep(tmp_path, '--seeds', '4') == 2
    assert 'expected the command of a training' in capsys.readouterr().err


def test_what_failed_at_once_may_be_corrected(fake, tmp_path):
    folder = tmp_path / 'seed_0'
    assert sweep(tmp_path, '--seeds', '0', options=[*SHORT, 'model.num_experts=9']) == 0
    for path in folder.iterdir():
        if path.name != 'command.json':
            path.unlink()
    assert sweep(tmp_path, '--seeds', '0') == 0
    assert json.loads((folder / 'command.json').read_text())['options'] == SHORT


def test_a_folder_of_a_config_that_has_changed_is_refused(fake, tmp_path, capsys):
    source = tmp_path / 'mine.py'
    base = (REPOSITORY / f'configs/ride/{CONFIG}.py').as_posix()

    def write(more: str) -> None:
        source.write_text(f'_base_ = {base!r}\n{more}')

    folder = tmp_path / 'runs'
    write('')
    assert sweep(folder, '--seeds', '0', config=str(source)) == 0
    write("default_hooks = dict(logger=dict(interval=7))\nlog_level = 'INFO'")
    assert sweep(folder, '--seeds', '0', config=str(source)) == 0
    average = "default_hooks = dict(ema=dict(type='LTEMAHook', momentum=0.01))"
    write(average)
    assert sweep(folder, '--seeds', '0', config=str(source)) == 2
    assert 'default_hooks.ema: expected None, got' in capsys.readouterr().err
    write('model = dict(num_experts=2)')
    capsys.readouterr()
    assert sweep(folder, '--seeds', '0', '1', config=str(source)) == 2
    assert 'model.num_experts: expected 3, got 2' in capsys.readouterr().err
    assert not (folder / 'seed_1').exists()
    # What an earlier version made does not say it.
    noted = folder / 'seed_0' / work.COMMAND
    content = json.loads(noted.read_text())
    del content['content']
    noted.write_text(json.dumps(content))
    assert sweep(folder, '--seeds', '0', config=str(source)) == 0


def test_real_trainings(tmp_path, monkeypatch):
    # Seed 0 was trained by hand before, with the same settings: it is not repeated.
    options = ['train_dataloader.num_workers=0', 'val_dataloader.num_workers=0']
    options += ['test_dataloader.num_workers=0']
    short = ['--epochs', '1']
    with monkeypatch.context() as patch:
        patch.setattr(Config, 'pretty_text', '')
        forget_runs()
        place = ['--work-dir', str(tmp_path / 'seed_0')]
        train_main([PLAIN, *place, *short, '--cfg-options', *options])
    trained = (tmp_path / 'seed_0' / 'epoch_1.pth').stat().st_mtime_ns
    assert (
        sweep(tmp_path, '--seeds', '0', '1', *short, options=options, config=PLAIN) == 0
    )
    assert (tmp_path / 'seed_0' / 'epoch_1.pth').stat().st_mtime_ns == trained
    content = json.loads((tmp_path / 'sweep.json').read_text())
    figures = content['metrics']['shot_accuracy/all']['values']
    for seed in (0, 1):
        test = json.loads((tmp_path / f'seed_{seed}' / 'test.json').read_text())
        assert test['metrics']['shot_accuracy/all'] == figures[seed]
        assert test['checkpoint'].endswith('epoch_1.pth')
        assert content['runs'][seed]['sessions'][-1]['seed'] == seed
    weights = [
        load_checkpoint_file(run['checkpoint'])['state_dict'][
            'head.classifiers.0.weight'
        ]
        for run in content['runs']
    ]
    assert not weights[0].equal(weights[1])


def test_help_names_the_exit_status():
    done = run_tool('sweep.py', '--help')
    assert done.returncode == 0 and 'exit status' in done.stdout
