"""tools/analysis_tools/route_budget.py: what it finds is what a test then measures."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from digits_runs import ONE, TWO, metrics_of
from engine_helpers import forget_runs, run_tool
from mmengine.config import Config

from ride_mm.analysis.routing import OperatingPoint
from ride_mm.cli.analysis_tools.budget_data import use_data
from ride_mm.cli.analysis_tools.budget_output import settings_of, short
from ride_mm.cli.analysis_tools.route_budget import route_budget_main
from ride_mm.engine.checkpoint_io import load_checkpoint_file
from ride_mm.utils import find_config


@pytest.fixture(autouse=True)
def quick_and_separate_runs(monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')
    forget_runs()


def budget(checkpoint: Path, folder: Path, *options: object) -> dict:
    forget_runs()
    arguments = [TWO, checkpoint, '--work-dir', folder, *options]
    route_budget_main([str(argument) for argument in arguments])
    data = options[options.index('--data') + 1] if '--data' in options else 'val'
    return json.loads((folder / f'route_budget_{data}.json').read_text())


def assert_measured(point: dict, metrics: dict) -> None:
    """A simulated operating point and a routed test agree."""
    assert metrics['expert_usage/mean_experts'] == pytest.approx(point['mean_experts'])
    for k, share in enumerate(point['shares'], start=1):
        assert metrics[f'expert_usage/share_{k}'] == pytest.approx(100 * share)
    assert metrics['expert_usage/mean_macs'] == pytest.approx(point['macs'] / 1e6)
    assert metrics['expert_usage/macs_ratio'] == pytest.approx(point['macs_ratio'])
    for group, accuracy in point['accuracy'].items():
        assert metrics[f'shot_accuracy/{group}'] == pytest.approx(accuracy)


@pytest.mark.parametrize('more', [[], ['--per-router']])
def test_the_thresholds_chosen_do_what_was_said(stage_two, tmp_path, capsys, more):
    checkpoint, config = tmp_path / 'b' / 'budget.pth', tmp_path / 'budget.py'
    outputs = '--out-checkpoint', checkpoint, '--out-config', config
    result = budget(stage_two, tmp_path, '--mean-experts', 1.6, *outputs, *more)
    chosen = result['chosen']
    assert 1 <= chosen['mean_experts'] <= 1.6
    assert_measured(chosen, metrics_of(checkpoint, tmp_path))
    assert_measured(chosen, metrics_of(stage_two, tmp_path, config=config))
    assert_measured(result['present'], metrics_of(stage_two, tmp_path))
    assert (
        'digits'
        in load_checkpoint_file(checkpoint)['meta']['thresholds_set_on'].lower()
    )
    said = capsys.readouterr().out
    assert 'Thresholds are set on val_dataloader (Digits, test): 300 images' in said
    assert 'WARNING: these are the test images' in said
    picture = (tmp_path / 'route_budget_val.png').read_bytes()
    assert picture.startswith(b'\x89PNG')


def test_the_rest_of_the_checkpoint_stays(stage_two, tmp_path):
    out = tmp_path / 'out.pth'
    budget(stage_two, tmp_path, '--max-drop', 5, '--out-checkpoint', out)
    before, after = (load_checkpoint_file(p)['state_dict'] for p in (stage_two, out))
    assert before.keys() == after.keys()
    changed = [k for k in before if not torch.equal(before[k], after[k])]
    assert changed == ['head.threshold_logits']


def test_the_sweep_goes_from_one_expert_to_all(stage_two, tmp_path):
    result = budget(stage_two, tmp_path)
    sweep = result['one_threshold']
    assert sweep[0]['mean_experts'] == 1 and sweep[-1]['mean_experts'] == 3
    assert result['chosen'] is None and result['budget'] is None
    experts = [point['mean_experts'] for point in sweep]
    assert experts == sorted(experts)
    for point in (sweep[0], sweep[len(sweep) // 2], sweep[-1]):
        threshold = f'model.head.threshold_logits={point["threshold_logits"][0]}'
        assert_measured(point, metrics_of(stage_two, tmp_path, threshold))


def test_training_images_without_augmentation(stage_two, tmp_path, capsys):
    first = budget(stage_two, tmp_path, '--data', 'train', '--macs-ratio', 1.0)
    assert first['chosen']['macs_ratio'] <= 1.0
    assert '399 images' in first['data']
    said = capsys.readouterr().out
    assert 'experts were trained on these images' in said
    again = budget(stage_two, tmp_path, '--data', 'train', '--macs-ratio', 1.0)
    assert again == first
    weighted = budget(stage_two, tmp_path, '--data', 'train', '--weight', 'images')
    assert weighted['one_threshold'] != first['one_threshold']


@pytest.mark.parametrize('name', ['ride_r32_cifar100lt_30e_router', TWO])
def test_images_of_the_test_are_told_however_they_are_fetched(name):
    warnings = {}
    for data in ('val', 'test', 'train'):
        cfg = Config.fromfile(find_config(name))
        warnings[data] = use_data(cfg, data)
        loader = cfg.test_dataloader
        by_the_batch = loader.dataset.type == 'BatchedLongTailed'
        assert ('take_batch' in str(loader.get('collate_fn'))) == by_the_batch
    assert 'these are the test images' in warnings['val']
    assert warnings['test'] == warnings['val']
    assert 'were trained on these images' in warnings['train']
    cfg = Config.fromfile(find_config('ride_r32_cifar100lt_val_router'))
    assert use_data(cfg, 'val') is None
    assert cfg.test_dataloader.dataset.part == 'val'
    assert cfg.train_dataloader.dataset.held_out == cfg.val_dataloader.dataset.held_out


HELD_OUT = """
_base_ = {base!r}
val_dataloader = dict(
    dataset=dict(
        _delete_=True, type='LongTailed', imbalance='exp', factor=50, n_max=144,
        held_out=dict(per_class=1), part='val',
        dataset=dict(
            type='Digits', split='train', pipeline=[dict(type='PackInputs')],
            test_mode=True,
        ),
    )
)
"""


def test_held_out_images_that_were_trained_on(stage_two, tmp_path, capsys):
    config = tmp_path / 'held_out.py'
    config.write_text(HELD_OUT.format(base=str(find_config(TWO))))
    route_budget_main([str(config), str(stage_two), '--work-dir', str(tmp_path)])
    said = capsys.readouterr().out
    assert 'val_dataloader (Digits, train, held-out part): 10 images' in said
    assert 'WARNING: the checkpoint was not trained on the other part' in said


def error_of(*argv: object) -> str:
    with pytest.raises(SystemExit) as err:
        route_budget_main([str(arg) for arg in argv])
    assert str(err.value.code).startswith('error: '), err.value.code
    return str(err.value.code)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--mean-experts', 0.5], '--mean-experts: expected 1 to 3, .* got 0.5'),
        (['--mean-experts', 4], 'expected 1 to 3, .* got 4'),
        (['--max-drop', 'inf'], '--max-drop: expected a number, got inf'),
        (
            ['--mean-experts', 2, '--out-config', 'x'],
            '--out-config: expected FILE.py, got x',
        ),
        (
            ['--mean-experts', 2, '--out-config', 'x.py', '--out-checkpoint', 'x.py'],
            'expected two files, got x.py twice',
        ),
        (['--mean-experts', 'nan'], 'expected 1 to 3, .* got nan'),
        (['--out-checkpoint', 'x.pth'], 'x.pth: expected a budget'),
        (['--per-router'], '--per-router: expected a budget'),
        (
            ['--mean-experts', 2, '--out-checkpoint', '/proc/none/x.pth'],
            '--out-checkpoint: expected a place to write to, got /proc/none',
        ),
        (['--cfg-options', 'model.num_experts=1'], 'at least 2 experts, .* got 1'),
    ],
)
def test_errors_before_anything_is_computed(
    stage_two, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('ride_mm.cli.analysis_tools.route_budget.record', None)
    got = error_of(TWO, stage_two, '--work-dir', tmp_path, *options)
    assert re.search(message, got)


def test_unreachable_budgets_say_what_is_reachable(stage_two, tmp_path):
    common = TWO, stage_two, '--work-dir', tmp_path
    message = error_of(*common, '--macs-ratio', 0.1)
    assert '--macs-ratio: expected 0.7' in message and 'got 0.1' in message
    forget_runs()
    assert 'smallest drop' in error_of(*common, '--max-drop', -90)


def test_stage_one_is_refused(stage_one, tmp_path):
    message = error_of(ONE, stage_one, '--work-dir', tmp_path)
    assert 'expected a config with a RouterHead, got MultiExpertHead' in message
    assert 'head.router' in error_of(TWO, stage_one, '--work-dir', tmp_path)
    assert 'no such file' in error_of(TWO, 'none.pth', '--work-dir', tmp_path)


def test_a_file_that_is_there_is_not_replaced(stage_two, tmp_path):
    there = tmp_path / 'there.pth'
    there.write_bytes(b'precious')
    options = '--mean-experts', 2, '--out-checkpoint', there
    message = error_of(TWO, stage_two, '--work-dir', tmp_path, *options)
    assert 'expected a new file' in message
    assert there.read_bytes() == b'precious'


def test_probabilities_are_told_from_0_and_1():
    written = [short(p) for p in (0.0, 1e-9, 0.5, 0.99997, 1 - 1e-12, 1.0)]
    assert written == ['0', '1e-09', '0.5', '1-3e-05', '1-1e-12', '1']


def test_thresholds_that_probabilities_cannot_tell_apart_are_logits():
    point = OperatingPoint((0.5, math.inf), 1, (1, 0, 0), {}, 1, 1)
    settings = settings_of(point)
    assert settings['thresholds'] == [pytest.approx(0.6224593), 1]
    assert settings['threshold_logits'] is None
    point = OperatingPoint((-math.inf, 50.0), 1, (1, 0, 0), {}, 1, 1)
    expected = dict(thresholds=None, threshold_logits=[-1e9, 50])
    assert settings_of(point) == expected


def test_thresholds_and_options_of_the_config_are_respected(
    stage_two, tmp_path, capsys, monkeypatch
):
    monkeypatch.undo()  # The whole config is written.
    config = tmp_path / 'own.py'
    head = 'dict(threshold_logits=[1e9, 0.0])'
    config.write_text(
        f'_base_ = {str(find_config(TWO))!r}\nmodel = dict(head={head})\n'
    )
    out, checkpoint = tmp_path / 'out.py', tmp_path / 'out.pth'
    route_budget_main(
        [str(config), str(stage_two), '--work-dir', str(tmp_path), '--max-drop', '1']
        + ['--out-config', str(out), '--out-checkpoint', str(checkpoint)]
        + ['--cfg-options', 'test_dataloader.batch_size=50']
    )
    result = json.loads((tmp_path / 'route_budget_val.json').read_text())
    assert result['present']['source'] == 'config'
    assert result['present']['mean_experts'] == 1
    assert 'go before those in a checkpoint' in capsys.readouterr().out
    assert Config.fromfile(out).test_dataloader.batch_size == 50
    assert_measured(result['chosen'], metrics_of(stage_two, tmp_path, config=out))


def test_the_training_s_own_config_stays(stage_two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dumped = tmp_path / 'work_dirs' / TWO / f'{TWO}.py'
    dumped.parent.mkdir(parents=True)
    dumped.write_text('# of the training')
    forget_runs()
    route_budget_main([TWO, str(stage_two)])
    metrics_of(stage_two, dumped.parent, 'model.head.thresholds=1')
    assert dumped.read_text() == '# of the training'
    assert (dumped.parent / 'route_budget' / 'route_budget_val.json').is_file()


@pytest.mark.slow
def test_the_program(stage_two, tmp_path):
    done = run_tool(
        'analysis_tools/route_budget.py', TWO, stage_two, '--work-dir', tmp_path,
        '--max-drop', 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'model.head.thresholds=[' in done.stdout
