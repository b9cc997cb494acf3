"""Stage two on the command line: start from stage one, train, resume, test."""

import json
from pathlib import Path

import pytest
import torch
from digits_runs import TWO, metrics_of, train_router
from engine_helpers import error_of, forget_runs, run_tool
from mmengine.config import Config

from ride_mm.cli import test_main as main_of_test
from ride_mm.cli import train_main
from ride_mm.engine.checkpoint_io import load_checkpoint_file, write_atomically

ROUTER = 'head.router.'


@pytest.fixture(autouse=True)
def quick_and_separate_runs(monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')
    forget_runs()


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint_file(checkpoint)['state_dict']


def assert_holds(two: dict, one: dict) -> None:
    """Stage two's checkpoint holds stage one unchanged, bit for bit."""
    assert len(one) > 200
    for name, tensor in one.items():
        assert torch.equal(two[name], tensor), name
    added = set(two) - set(one)
    assert {n for n in added if not n.startswith(ROUTER)} == {'head.threshold_logits'}


def test_the_checkpoint_holds_stage_one_unchanged(stage_one, stage_two):
    assert_holds(weights(stage_two), weights(stage_one))
    assert weights(stage_two)['head.threshold_logits'].tolist() == [0, 0]


def test_the_routers_have_learnt(stage_two):
    first = weights(stage_two.with_name('epoch_1.pth'))
    last = weights(stage_two)
    names = [name for name in last if name.startswith(ROUTER)]
    assert len(names) == 6
    assert not any(torch.equal(first[name], last[name]) for name in names)


def test_a_resumed_run_equals_the_straight_one(stage_two, tmp_path):
    train_router(tmp_path, None, f'--resume={stage_two.with_name("epoch_1.pth")}')
    resumed = load_checkpoint_file(tmp_path / 'epoch_2.pth')
    straight = load_checkpoint_file(stage_two)
    for name, tensor in straight['state_dict'].items():
        assert torch.equal(resumed['state_dict'][name], tensor), name
    for key, state in straight['optimizer']['state'].items():
        momentum = resumed['optimizer']['state'][key]['momentum_buffer']
        assert torch.equal(momentum, state['momentum_buffer'])


def test_two_processes_in_mixed_precision(stage_one, tmp_path):
    done = run_tool(
        'dist_train.sh', TWO, 2, '--work-dir', tmp_path, '--epochs', 1, '--amp', 'bf16',
        '--cfg-options', f'load_from={stage_one}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # 399 images, batches of 64, two processes.
    assert 'Epoch(val) [1][' in done.stdout + done.stderr
    checkpoint = load_checkpoint_file(tmp_path / 'epoch_1.pth')
    assert checkpoint['training']['images_per_step'] == 128
    assert_holds(checkpoint['state_dict'], weights(stage_one))


def test_testing_tells_the_usage(stage_two, tmp_path):
    metrics = metrics_of(stage_two, tmp_path)
    shares = [metrics[f'expert_usage/share_{k}'] for k in (1, 2, 3)]
    assert sum(shares) == pytest.approx(100)
    mean = sum(k * share / 100 for k, share in enumerate(shares, start=1))
    assert metrics['expert_usage/mean_experts'] == pytest.approx(mean)
    assert 0 < metrics['shot_accuracy/all'] <= 100


@pytest.mark.parametrize(('threshold', 'experts'), [(0, 3), (1, 1)])
def test_thresholds_in_the_config_and_in_the_checkpoint(
    stage_two, tmp_path, threshold, experts
):
    by_config = metrics_of(stage_two, tmp_path, f'model.head.thresholds={threshold}')
    assert by_config['expert_usage/mean_experts'] == experts
    checkpoint = load_checkpoint_file(stage_two)
    logits = checkpoint['state_dict']['head.threshold_logits']
    logits.fill_(float('inf') if threshold else float('-inf'))
    changed = tmp_path / 'changed.pth'
    write_atomically(checkpoint, changed)
    assert metrics_of(changed, tmp_path) == by_config


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['model.num_experts=4'], 'experts: expected 4, got 3'),
        (['model.backbone.expert_width=1.0'], 'shape (32, 16, 3, 3), got shape (24, '),
        (['model.backbone.depth=32'], 'expected shape (16, 16, 3, 3), got no such'),
        (['load_from=None'], "load_from=CHECKPOINT, stage one's, got none"),
        (['load_from=none.pth'], 'a checkpoint in load_from'),
    ],
)
def test_another_stage_one_is_refused(stage_one, tmp_path, options, message):
    common = TWO, '--work-dir', tmp_path, '--cfg-options', f'load_from={stage_one}'
    assert message in error_of(train_main, *common, *options)
    assert not list(tmp_path.glob('*.pth'))


def test_a_checkpoint_without_experts_is_refused(tmp_path):
    plain = tmp_path / 'plain.pth'
    torch.save(dict(state_dict={'fc.weight': torch.zeros(3, 4)}), plain)
    options = TWO, '--work-dir', tmp_path, '--cfg-options', f'load_from={plain}'
    assert 'experts: expected 3, got none' in error_of(train_main, *options)


def test_stage_one_s_checkpoint_is_not_tested_as_routed(stage_one, tmp_path):
    message = error_of(main_of_test, TWO, stage_one, '--work-dir', tmp_path)
    assert 'routers: expected some, got none (does the config of stage one' in message


def test_a_single_expert_is_refused(stage_one, tmp_path):
    with pytest.raises(SystemExit, match='at least 2, .* got 1'):
        train_main([TWO, '--work-dir', str(tmp_path), '--cfg-options',
                    f'load_from={stage_one}', 'model.num_experts=1'])  # fmt: skip


def test_thresholds_of_an_earlier_router_are_not_taken_over(stage_two, tmp_path):
    checkpoint = load_checkpoint_file(stage_two)
    checkpoint['state_dict']['head.threshold_logits'].fill_(5)
    start = tmp_path / 'start.pth'
    write_atomically(checkpoint, start)
    trained = train_router(tmp_path / 'run', start)
    assert weights(trained)['head.threshold_logits'].tolist() == [0, 0]


def test_views_are_averaged_without_the_metrics_of_experts(stage_two, tmp_path, capsys):
    target = tmp_path / 'tta.json'
    arguments = [TWO, str(stage_two), '--work-dir', str(tmp_path), '--tta']
    main_of_test([*arguments, '--json', str(target)])
    metrics = json.loads(target.read_text())['metrics']
    assert 0 < metrics['shot_accuracy/all'] <= 100
    assert not any(name.startswith('expert_usage') for name in metrics)
    assert '--tta: without ExpertUsage' in capsys.readouterr().out
