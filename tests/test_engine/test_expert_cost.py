"""Hook and metric in MMEngine's own loops: figures, one measurement, no trace."""

import json
from unittest import mock

import numpy as np
import pytest
import torch
from engine_helpers import (
    CLASSES,
    checkpoint_digest,
    forget_runs,
    run_tool,
    tiny_config,
)
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from mmpretrain.registry import METRICS, MODELS

from ride_mm.analysis import PartCosts, part_costs, plain_complexity
from ride_mm.cli import test_main as main_of_test
from ride_mm.engine.hooks import ExpertCostHook
from ride_mm.utils import find_config

PLAIN_COST = 'ride_mm.analysis.plain_complexity'


@METRICS.register_module(force=True)
class CostsTestMetric(BaseMetric):
    """Keeps what it is told."""

    default_prefix = 'told'

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.told = []

    def set_part_costs(self, costs, plain_macs) -> None:
        self.told.append((costs, plain_macs))

    def process(self, data_batch, data_samples) -> None:
        self.results.extend([0] * len(data_samples))

    def compute_metrics(self, results) -> dict:
        return dict(times=len(self.told))


@pytest.fixture(autouse=True)
def quick_and_separate_runs(monkeypatch):
    """Formatting the config takes most of the time of a tiny run."""
    monkeypatch.setattr(Config, 'pretty_text', '')
    monkeypatch.setattr('mmengine.device.utils.DEVICE', 'cpu')
    forget_runs()


def routed_model(num_experts=3, routed=True):
    head = dict(type='RouterHead', top_z=2) if routed else dict(type='MultiExpertHead')
    return ConfigDict(
        type='RIDEClassifier',
        num_experts=num_experts,
        backbone=dict(type='RIDEResNetCIFAR', depth=20),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(head, num_classes=CLASSES),
    )


def routed_config(work_dir, num_experts=3, routed=True, metrics=(), **changes):
    config = tiny_config(
        work_dir,
        data_preprocessor__to_onehot=False,
        train_cfg__max_epochs=2,
        **changes,
    )
    config.model = routed_model(num_experts, routed)
    usage = [dict(type='ExpertUsage')] * routed
    for name in ('val_evaluator', 'test_evaluator'):
        config[name] = [dict(type='EngineTestScore'), *usage, *metrics]
    return config


def spread_thresholds(model, images):
    """Let about half of the samples go on after each expert."""
    model.eval()
    head = model.head
    with torch.no_grad():
        features = torch.stack(model.extract_feat(images))  # (E, N, D)
        means = head.expert_logits(features).cumsum(0)
        for i in range(model.num_experts - 1):
            scores = head.router(features[i], means[i] / (i + 1), i)
            head.threshold_logits[i] = scores.median()


def predictions(runner):
    return [
        sample
        for batch in runner.test_dataloader
        for sample in runner.model.test_step(batch)
    ]


@pytest.fixture(scope='module')
def config_and_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp('routed')
    config = routed_config(folder)
    config.pop('work_dir')
    config.dump(folder / 'routed.py')
    torch.manual_seed(0)
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor))
    model.head.set_class_counts([150, 50, 10])
    spread_thresholds(model, torch.randn(64, 3, 8, 8))
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'model.pth')
    return str(folder / 'routed.py'), str(folder / 'model.pth')


@pytest.mark.parametrize('num_experts', [2, 3])
def test_the_metric_of_a_test(tmp_path, num_experts):
    runner = Runner.from_cfg(routed_config(tmp_path, num_experts))
    model = runner.model
    model.init_weights()
    model.head.set_class_counts([150, 50, 10])
    batches = [model.data_preprocessor(b)['inputs'] for b in runner.test_dataloader]
    spread_thresholds(model, torch.cat(batches))
    runner._has_loaded = runner._weights_initialized = True
    got = {
        name.removeprefix('expert_usage/'): value
        for name, value in runner.test().items()
        if name.startswith('expert_usage')
    }
    samples = predictions(runner)
    used = np.array([sample.num_experts for sample in samples])
    labels = np.array([sample.gt_label.item() for sample in samples])
    assert len(set(used)) == num_experts  # else the thresholds test nothing
    costs = part_costs(model, (3, 8, 8))
    plain = plain_complexity(routed_model(num_experts), (3, 8, 8))[1]
    macs = np.array([costs.of_experts_used()[k - 1] for k in used]).mean()
    assert got['mean_macs'] == pytest.approx(macs / 1e6)
    assert got['macs_ratio'] == pytest.approx(macs / plain)
    assert got['mean_experts'] == pytest.approx(used.mean())
    for k in range(1, num_experts + 1):
        assert got[f'share_{k}'] == pytest.approx(100 * (used == k).mean())
        for c, group in enumerate(('many', 'medium', 'few')):
            share = 100 * (used[labels == c] == k).mean()
            assert got[f'share_{k}_{group}'] == pytest.approx(share)


def test_the_shipped_digits_config_tests_with_costs(tmp_path):
    pytest.importorskip('sklearn')
    config = Config.fromfile(find_config('ride_r20_digitslt_router'))
    config.merge_from_dict(dict(work_dir=str(tmp_path), load_from=None))
    runner = Runner.from_cfg(config)
    runner.model.head.set_class_counts([144, 93, 60, 39, 25, 16, 10, 6, 4, 2])
    got = runner.test()
    costs = part_costs(runner.model, (3, 16, 16))
    shares = [got[f'expert_usage/share_{k}'] for k in (1, 2, 3)]
    assert got['expert_usage/mean_macs'] == pytest.approx(costs.mean(shares) / 1e6)
    plain = plain_complexity(config.model, (3, 16, 16))[1]
    ratio = got['expert_usage/mean_macs'] * 1e6 / plain
    assert got['expert_usage/macs_ratio'] == pytest.approx(ratio)
    assert {'expert_usage/mean_experts_many', 'expert_usage/share_3_few'} <= set(got)


def test_validations_measure_once_and_leave_no_trace(tmp_path, config_and_checkpoint):
    digests = []
    for name in ('with', 'without'):
        forget_runs()
        config = routed_config(tmp_path / name, load_from=config_and_checkpoint[1])
        if name == 'without':
            del config.default_hooks.expert_cost
        runner = Runner.from_cfg(config)
        with mock.patch(PLAIN_COST, wraps=plain_complexity) as measured:
            runner.train()
        values = runner.message_hub.log_scalars
        assert measured.call_count == (name == 'with')
        assert ('val/expert_usage/macs_ratio' in values) == (name == 'with')
        assert 'val/expert_usage/mean_experts' in values
        digests.append(checkpoint_digest(tmp_path / name / 'epoch_2.pth'))
    assert digests[0] == digests[1]


def test_random_numbers_go_on_as_if_nothing_was_measured(tmp_path):
    runner = Runner.from_cfg(routed_config(tmp_path))
    batch = next(iter(runner.test_loop.dataloader))
    states = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    ExpertCostHook().after_test_iter(runner, 0, batch)
    assert runner.test_evaluator.metrics[1].plain_macs > 0
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]


def test_the_size_is_that_of_the_padded_batch_and_each_is_measured_once(tmp_path):
    config = routed_config(tmp_path, data_preprocessor__pad_size_divisor=12)
    runner = Runner.from_cfg(config)
    hook, (_, metric) = ExpertCostHook(), runner.test_loop.evaluator.metrics
    with mock.patch(PLAIN_COST, return_value=(1, 1)) as measured:
        for side in (8, 12, 13, 10):
            batch = dict(inputs=[torch.zeros(3, side, side).byte()] * 2)
            hook.after_test_iter(runner, 1, batch)
            hook.after_test_iter(runner, 0, batch)
            padded = 12 if side <= 12 else 24
            expected = part_costs(runner.model, (3, padded, padded))
            assert metric.costs == expected
    assert [call.args[1] for call in measured.call_args_list] == [
        (3, 12, 12),
        (3, 24, 24),
    ]


def test_nothing_is_measured_where_nobody_asks_or_nothing_is_routed(tmp_path):
    wants = [dict(type='CostsTestMetric')]
    for routed, metrics in ((True, []), (False, wants)):
        forget_runs()
        config = routed_config(tmp_path, routed=routed, metrics=metrics)
        if routed:
            config.test_evaluator = [dict(type='EngineTestScore')]
        with mock.patch(PLAIN_COST) as measured:
            result = Runner.from_cfg(config).test()
        assert not measured.called
        assert result.get('told/times', 0) == 0


def test_a_plain_network_that_cannot_be_built_is_left_out(
    tmp_path, config_and_checkpoint
):
    config = routed_config(tmp_path, load_from=config_and_checkpoint[1])
    runner = Runner.from_cfg(config)
    runner.cfg.model.backbone.type = 'Nowhere'
    with mock.patch.object(runner.logger, 'warning') as warned:
        runner.train()
    messages = [call.args[0] for call in warned.call_args_list]
    (message,) = [m for m in messages if 'plain network' in m]
    assert 'ValueError: backbone: expected a registered one, got Nowhere' in message
    values = runner.message_hub.log_scalars
    assert 'val/expert_usage/mean_macs' in values
    assert 'val/expert_usage/macs_ratio' not in values


def test_costs_that_cannot_be_measured_do_not_end_the_run(tmp_path):
    runner = Runner.from_cfg(routed_config(tmp_path))
    failing = mock.patch('ride_mm.analysis.part_costs', side_effect=MemoryError('full'))
    with failing, mock.patch.object(runner.logger, 'warning') as warned:
        result = runner.test()
    messages = [call.args[0] for call in warned.call_args_list]
    assert any(
        'experts and routers' in m and 'MemoryError: full' in m for m in messages
    )
    assert 'expert_usage/mean_experts' in result
    assert 'expert_usage/mean_macs' not in result


def test_two_processes_equal_one(config_and_checkpoint, tmp_path):
    """Under DistributedDataParallel; the second process does not wait for ever."""
    files = tmp_path / 'one.json', tmp_path / 'two.json'
    common = '--work-dir', str(tmp_path), '--json'
    main_of_test([*config_and_checkpoint, *common, str(files[0])])
    done = run_tool('dist_test.sh', *config_and_checkpoint, 2, *common, files[1])
    assert done.returncode == 0, done.stderr
    one, two = (json.loads(file.read_text())['metrics'] for file in files)
    assert two == pytest.approx(one)
    assert two['expert_usage/macs_ratio'] > 0
    assert 'expert_usage/mean_experts_few' in two


def test_test_time_augmentation(config_and_checkpoint, tmp_path):
    """It has no number of experts, so ExpertUsage and the hook leave it alone."""
    arguments = [*config_and_checkpoint, '--work-dir', str(tmp_path), '--tta']
    target = tmp_path / 'metrics.json'
    main_of_test([*arguments, '--json', str(target)])
    names = json.loads(target.read_text())['metrics']
    assert names and not any(name.startswith('expert_usage') for name in names)
    forget_runs()
    option = 'test_evaluator.1.type=CostsTestMetric'
    main_of_test([*arguments, '--json', str(target), '--cfg-options', option])
    metrics = json.loads(target.read_text())['metrics']
    assert metrics['told/times'] == 0 and metrics['score/nll'] > 0


def test_the_metric_is_told_the_costs(tmp_path):
    config = routed_config(tmp_path, metrics=[dict(type='CostsTestMetric')])
    runner = Runner.from_cfg(config)
    runner.test()
    ((costs, plain),) = runner.test_evaluator.metrics[2].told
    assert isinstance(costs, PartCosts) and len(costs.routers) == 2
    assert plain == plain_complexity(config.model, (3, 8, 8))[1]
