"""tools/evaluate_zoo.py: each row says what a test of that checkpoint says."""

import json
import logging
import re
import shutil
from pathlib import Path

import pytest
from digits_runs import ONE, TWO, metrics_of
from engine_helpers import forget_runs, run_tool
from mmengine.config import Config
from mmengine.logging import MMLogger

from ride_mm.cli import evaluate_zoo as program
from ride_mm.cli.errors import UsageError
from ride_mm.cli.zoo_files import (
    config_of,
    find_checkpoints,
    same_task,
    shipped_configs,
    shipped_name,
)
from ride_mm.engine.checkpoint_io import load_checkpoint_file, write_atomically
from ride_mm.utils import find_config, metafile

PUBLISHED = {
    'Top 1 Accuracy (published by the authors)': 48.0,
    'Top 1 Accuracy, many-shot (published by the authors)': 68.1,
    'Top 1 Accuracy, medium-shot (published by the authors)': 49.2,
    'Top 1 Accuracy, few-shot (published by the authors)': 23.9,
    'Top 5 Accuracy (published by the authors)': 70.0,
    'Top 1 Accuracy (measured)': 37.4,
}


@pytest.fixture(scope='session')
def config_text() -> str:
    """The config of stage two as MMEngine writes it into checkpoints."""
    return Config.fromfile(find_config(TWO)).pretty_text


@pytest.fixture(autouse=True)
def quick_and_separate_runs(config_text, monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')
    forget_runs()


def dumped_config(name: str, folder: Path) -> None:
    (folder / f'{name}.py').write_text(f'_base_ = {str(find_config(name))!r}\n')


@pytest.fixture
def zoo(stage_one, stage_two, config_text, tmp_path) -> Path:
    """Checkpoints that can be tested and some that cannot."""
    folder = tmp_path / 'zoo'
    for place in ('work', 'stored', 'bad'):
        (folder / place).mkdir(parents=True)
    # A work directory: an earlier epoch, and the config of a test beside its own.
    shutil.copy(stage_two, folder / 'work' / 'epoch_2.pth')
    (folder / 'work' / 'epoch_1.pth').write_bytes(b'not to be read')
    (folder / 'work' / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
    (folder / 'work' / '20260102_030405.py').write_text('not to be read')
    dumped_config(TWO, folder / 'work')
    # Named by publish_model.
    shutil.copy(stage_one, folder / f'{ONE}-1a2b3c4d.pth')
    # With its config inside.
    checkpoint = load_checkpoint_file(stage_two)
    checkpoint['meta'].update(cfg=config_text, experiment_name=f'{TWO}_20260102_030405')
    write_atomically(checkpoint, folder / 'stored' / 'a.pth')
    # What cannot be tested.
    (folder / 'bad' / 'cut.pth').write_bytes(Path(stage_one).read_bytes()[:9000])
    shutil.copy(stage_one, folder / 'bad' / f'{TWO}-00000000.pth')
    shutil.copy(stage_one, folder / 'bad' / 'stranger.pth')
    (folder / 'bad' / '.unfinished.pth').write_bytes(b'')
    return folder


def evaluate(*argv: object) -> int:
    """Run the tool in this process and return its exit status."""
    try:
        program.evaluate_zoo_main([str(arg) for arg in argv])
    except SystemExit as err:
        return err.code
    return 0


def test_rows_are_what_tests_say(zoo, stage_one, stage_two, tmp_path, capsys):
    target = tmp_path / 'zoo.json'
    before = sorted(zoo.rglob('*'))
    handlers = len(logging.getLogger().handlers)
    assert evaluate(zoo, '--json', target) == 1
    assert sorted(zoo.rglob('*')) == before
    assert not MMLogger._instance_dict and len(logging.root.handlers) == handlers
    rows = json.loads(target.read_text())['rows']
    assert [row['checkpoint'] for row in rows] == [
        'bad/cut.pth',
        f'bad/{TWO}-00000000.pth',
        'bad/stranger.pth',
        f'{ONE}-1a2b3c4d.pth',
        'stored/a.pth',
        'work/epoch_2.pth',
    ]
    cut, misfit, stranger, experts, stored, work = rows
    two = metrics_of(stage_two, tmp_path)
    for row, source in ((stored, 'checkpoint'), (work, 'file')):
        assert row['fault'] is None
        assert (row['config'], row['source'], row['data']) == (TWO, source, 'Digits')
        assert row['metrics'] == pytest.approx(two)
        assert row['mean_experts'] == two['expert_usage/mean_experts']
        assert row['macs'] == pytest.approx(1e6 * two['expert_usage/mean_macs'])
    one = metrics_of(stage_one, tmp_path, config=ONE)
    assert (experts['config'], experts['source']) == (ONE, 'shipped')
    assert experts['accuracy']['all'] == one['shot_accuracy/all']
    assert experts['accuracy']['few'] == one['shot_accuracy/few']
    assert experts['mean_experts'] == 3
    assert experts['macs'] == pytest.approx(14.77e6, rel=1e-3)
    assert 'routers: expected some, got none' in misfit['fault']
    assert 'DamagedCheckpointError' in cut['fault']
    assert 'expected a config: stranger.py' in stranger['fault']
    said = capsys.readouterr().out
    assert '[1/6] ' in said and '3 of 6 not tested:' in said
    accuracy = f'{two["shot_accuracy/all"]:.1f}'
    (line,) = [line for line in said.splitlines() if line.startswith('| work/')]
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    assert cells[:4] == ['work/epoch_2.pth', TWO, 'Digits', accuracy]


def test_options_hold_for_all(zoo, tmp_path, capsys):
    target = tmp_path / 'zoo.json'
    options = '--only', 'work/*', '--json', target
    option = 'model.head.thresholds=0'
    assert evaluate(zoo, *options, '--cfg-options', option) == 0
    (row,) = json.loads(target.read_text())['rows']
    assert row['mean_experts'] == 3
    assert 'not tested' not in capsys.readouterr().out


def test_a_config_without_the_check_gets_it(stage_one, tmp_path, capsys):
    folder = tmp_path / 'zoo'
    folder.mkdir()
    shutil.copy(stage_one, folder / 'x.pth')
    (folder / 'x.py').write_text(
        f'_base_ = {str(find_config(ONE))!r}\n'
        'model = dict(num_experts=2)\n'
        'default_hooks = dict(checkpoint_fit=None)\n'
    )
    assert evaluate(folder) == 1
    assert 'experts: expected 2, got 3' in capsys.readouterr().out


def test_figures_of_the_metafile_stand_beside(zoo, monkeypatch, capsys):
    entry = dict(Name=ONE, Results=[dict(Dataset='x', Metrics=PUBLISHED)])
    monkeypatch.setattr(metafile, 'model_entries', lambda: {ONE: entry})
    assert evaluate(zoo, '--only', f'{ONE}-*') == 0
    said = capsys.readouterr().out
    assert '| 48.0 (68.1/49.2/23.9) |' in said
    assert re.search(r'\| +37.4 \|$', said, re.MULTILINE)
    assert metafile.known_accuracy('unknown', 'published') == {}


def test_figures_of_another_task_do_not(zoo, monkeypatch, capsys):
    name = 'ride_r32_cifar100lt'
    entry = dict(Name=name, Results=[dict(Dataset='x', Metrics=PUBLISHED)])
    monkeypatch.setattr(metafile, 'model_entries', lambda: {name: entry})
    (zoo / f'{ONE}-1a2b3c4d.pth').rename(zoo / f'{name}.pth')
    (zoo / f'{name}.py').write_text(f'_base_ = {str(find_config(ONE))!r}\n')
    assert evaluate(zoo, '--only', f'{name}*') == 0
    said = capsys.readouterr().out
    assert f'| {name} ' in said and '48.0' not in said and '37.4' not in said
    shipped = Config.fromfile(shipped_configs()[name])
    assert same_task(shipped, name)
    assert not same_task(shipped, 'unknown')
    for option in (
        {'model.num_experts': 4},
        {'model.head.num_classes': 10},
        {'test_dataloader.dataset.type': 'LTCIFAR10'},
        {'test_dataloader.dataset.split': 'train'},
    ):
        other = Config(shipped.to_dict())
        other.merge_from_dict(option)
        assert not same_task(other, name)


def test_whatever_ends_a_row_does_not_end_the_others(zoo, capsys):
    (zoo / 'bad' / 'stranger.py').write_text('raise SystemExit(3)\n')
    only = '--only', '[bw]*/[se]*'
    assert evaluate(zoo, *only) == 1
    said = capsys.readouterr().out
    assert 'bad/stranger.pth: SystemExit: 3' in said
    assert '1 of 2 not tested' in said
    (zoo / 'bad' / 'stranger.py').write_text('raise KeyboardInterrupt\n')
    assert evaluate(zoo, *only) == 130


def test_weights_that_are_no_numbers(stage_one, tmp_path):
    checkpoint = load_checkpoint_file(stage_one)
    name = next(k for k in checkpoint['state_dict'] if k.endswith('bn1.weight'))
    checkpoint['state_dict'][name][0] = float('nan')
    (tmp_path / 'zoo').mkdir()
    write_atomically(checkpoint, tmp_path / 'zoo' / f'{ONE}.pth')
    assert evaluate(tmp_path / 'zoo', '--json', tmp_path / 'o.json') == 1
    (row,) = json.loads((tmp_path / 'o.json').read_text())['rows']
    assert f'{name}: expected finite numbers, got nan' in row['fault']
    assert row['accuracy'] == {}


def test_errors(tmp_path, zoo, capsys):
    cases = [
        ((tmp_path / 'absent',), 'expected a folder, got no such folder'),
        (
            (tmp_path / 'zoo' / 'work', '--only', 'x*'),
            "*.pth that match 'x*', got none",
        ),
        ((zoo, '--json', zoo), '--json: expected a file, got the folder'),
        ((zoo, '--json', zoo / 'bad' / 'cut.pth'), 'expected a file of its own'),
    ]
    for argv, message in cases:
        assert evaluate(*argv) == 2
        assert message in capsys.readouterr().err


class TestFindCheckpoints:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        for name in (
            'a/epoch_2.pth',
            'a/epoch_10.pth',
            'a/best_x_epoch_2.pth',
            'b.pth',
        ):
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b'')
        return tmp_path

    def names(self, *args) -> list[str]:
        return [path.name for path in find_checkpoints(*args)]

    def test_the_last_epoch(self, folder):
        expected = ['best_x_epoch_2.pth', 'epoch_10.pth', 'b.pth']
        assert self.names(folder, False) == expected

    def test_the_one_to_go_on_from(self, folder):
        pointer = folder / 'a' / 'last_checkpoint'
        pointer.write_text('/somewhere/else/epoch_2.pth')
        assert 'epoch_2.pth' in self.names(folder, False)
        assert 'epoch_10.pth' not in self.names(folder, False)
        # It names a file of another folder.
        elsewhere = folder / 'c' / 'epoch_7.pth'
        elsewhere.parent.mkdir()
        elsewhere.write_bytes(b'')
        pointer.write_text(str(elsewhere))
        assert 'epoch_10.pth' in self.names(folder, False)

    def test_all(self, folder):
        assert len(find_checkpoints(folder, True)) == 4

    def test_only(self, folder):
        assert self.names(folder, True, 'a/epoch_*') == ['epoch_10.pth', 'epoch_2.pth']
        assert self.names(folder, True, 'b.*') == ['b.pth']
        with pytest.raises(UsageError, match='got none in it'):
            find_checkpoints(folder, True, 'c*')


class TestConfigOf:
    def test_of_the_same_name_comes_first(self, tmp_path):
        for name in ('x', 'other', 'another'):
            (tmp_path / f'{name}.py').write_text('')
        found = config_of(tmp_path / 'x.pth', {})
        assert (found.config, found.source) == (tmp_path / 'x.py', 'file')

    def test_one_of_several_is_not_guessed(self, tmp_path):
        for name in ('one', 'two'):
            (tmp_path / f'{name}.py').write_text('')
        with pytest.raises(UsageError, match='expected a config: x.py or a single'):
            config_of(tmp_path / 'x.pth', {})

    def test_a_config_of_a_test_serves_alone(self, tmp_path):
        (tmp_path / '20260102_030405.py').write_text('')
        found = config_of(tmp_path / 'x.pth', [])
        assert found.config.stem == '20260102_030405'

    def test_a_text_that_cannot_be_used_gives_way_to_a_shipped_config(self, tmp_path):
        content = dict(meta=dict(cfg='import os'))
        found = config_of(tmp_path / f'{TWO}-1a2b3c4d.pth', content)
        assert (found.name, found.source) == (TWO, 'shipped')
        with pytest.raises(ValueError, match='expected KEY = VALUE'):
            config_of(tmp_path / 'x.pth', content)

    def test_names_of_shipped_configs(self):
        assert shipped_name(f'{ONE}-1a2b3c4d') == ONE
        assert shipped_name(f'{TWO}-1a2b3c4d') == TWO
        assert shipped_name(f'{TWO}') == TWO
        assert shipped_name(f'{ONE}2') is None
        assert shipped_name('resnet50') is None


def test_the_program(tmp_path):
    done = run_tool('evaluate_zoo.py', tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f'error: {tmp_path}: expected a folder with *.pth')
