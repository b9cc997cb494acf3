"""Moving averages, accumulated gradients and mixed images, in whole runs."""

from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from engine_helpers import (
    CLASSES,
    checkpoint_digest,
    forget_runs,
    run_tiny,
    tiny_config,
)
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS, MODELS
from mmpretrain.structures import DataSample
from torch import nn

from ride_mm.engine.checkpoint_io import CheckpointError, load_checkpoint_file
from ride_mm.engine.hooks import LTEMAHook
from ride_mm.engine.hooks import ema as ema_module
from ride_mm.engine.hooks.schedule_guard import ScheduleChangedError

MOMENTUM = 0.3
EMA = {'type': 'LTEMAHook', 'momentum': MOMENTUM}
CUTMIX = {'type': 'CutMix', 'alpha': 1.0}
RIDE = {
    'type': 'RIDEClassifier',
    'num_experts': 2,
    'backbone': {
        'type': 'RIDEResNetCIFAR',
        'depth': 20,
        'expert_width': 0.5,
        'norm_cfg': {'type': 'GroupedBN', 'images_per_group': 4},
    },
    'neck': {'type': 'GlobalAveragePooling'},
    'head': {
        'type': 'MultiExpertHead',
        'num_classes': CLASSES,
        'loss': {'type': 'LDAMLoss', 'reweight': 'always'},
        'diversity': {'type': 'DiversityLoss', 'factor': -0.45},
    },
    'train_cfg': {'augments': [CUTMIX, {'type': 'Mixup', 'alpha': 0.4}]},
}


class KilledError(Exception):
    pass


@HOOKS.register_module(force=True)
class KillHook(Hook):
    """Ends a run before an epoch, as a kill would."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def before_train_epoch(self, runner) -> None:
        if runner.epoch == self.epoch:
            raise KilledError


@HOOKS.register_module(force=True)
class WatchHook(Hook):
    """Notes what a training passes through."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.weights, self.statistics = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.weights.append(flat(runner.model.parameters()))
        self.statistics.append(flat(statistics(runner.model.state_dict())))


def flat(tensors) -> torch.Tensor:
    return torch.cat([t.detach().flatten() for t in tensors]).clone()


def statistics(state: dict) -> list[torch.Tensor]:
    return [v for k, v in state.items() if 'running_' in k]


@pytest.fixture(autouse=True)
def run_alone(monkeypatch):
    # MMEngine formats the config for each checkpoint, which takes most of the time.
    monkeypatch.setattr(Config, 'pretty_text', property(lambda self: ''))
    forget_runs()
    yield
    forget_runs()


def settings(model: dict | None = None, ema: dict | None = None, **changes) -> dict:
    """Changes of the tiny config: a model of its own, a moving average."""
    if model is not None:
        changes['model'] = {**model, '_delete_': True}
    if ema is not None:
        changes['default_hooks__ema'] = ema
    return changes


def train(folder, **changes) -> Runner:
    return run_tiny(folder, **settings(**changes))


def killed_and_resumed(folder, **changes) -> str:
    with pytest.raises(KilledError):
        train(folder, custom_hooks=[{'type': 'KillHook', 'epoch': 2}], **changes)
    forget_runs()
    train(folder, resume=True, **changes)
    return checkpoint_digest(folder / 'epoch_3.pth')


OPTIONS = {
    'all in bfloat16': {
        'ema': EMA,
        'optim_wrapper__accumulative_counts': 2,
        'optim_wrapper__type': 'AutocastOptimWrapper',
    },
}


SLOW = {
    'mixing': {},
    'average': {'ema': EMA},
    'late average': {'ema': {**EMA, 'begin_epoch': 3}},
    'accumulation': {'optim_wrapper__accumulative_counts': 2},
}


@pytest.mark.parametrize(
    'option', [*OPTIONS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_resumed_run_equals_a_straight_one(tmp_path, option):
    changes = {'model': RIDE, **{**OPTIONS, **SLOW}[option]}
    train(tmp_path / 'straight', **changes)
    forget_runs()
    expected = checkpoint_digest(tmp_path / 'straight/epoch_3.pth')
    assert killed_and_resumed(tmp_path / 'killed', **changes) == expected
    for name in ('state_dict', 'ema_state_dict'):
        a, b = (
            load_checkpoint_file(tmp_path / f'{run}/epoch_3.pth').get(name, {})
            for run in ('straight', 'killed')
        )
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def average_of(values: list[torch.Tensor]) -> torch.Tensor:
    average = values[0]
    for value in values[1:]:
        average = average.lerp(value, MOMENTUM)
    return average


def test_average_is_its_equation_and_is_what_is_saved_and_validated(tmp_path):
    runner = train(
        tmp_path,
        model=RIDE,
        ema=EMA,
        custom_hooks=[{'type': 'WatchHook'}],
        val_evaluator=[{'type': 'EngineTestScore'}],
    )
    (watch,) = [hook for hook in runner.hooks if isinstance(hook, WatchHook)]
    # Its images are mixed, as are those of the runs above.
    augments = runner.model.data_preprocessor.batch_augments.augments
    assert [type(one).__name__ for one in augments] == ['CutMix', 'Mixup']
    saved = load_checkpoint_file(tmp_path / 'epoch_3.pth')
    state, aside = saved['state_dict'], saved['ema_state_dict']
    names = [name for name, _ in runner.model.named_parameters()]
    expected = average_of(watch.weights)
    torch.testing.assert_close(flat(state[n] for n in names), expected)
    assert torch.equal(flat(aside[f'module.{n}'] for n in names), watch.weights[-1])
    assert (expected - watch.weights[-1]).abs().max() > 1e-4
    expected = average_of(watch.statistics)
    torch.testing.assert_close(flat(statistics(state)), expected)
    # Whole numbers are the model's own.
    assert state['head.class_counts'].tolist() == [8, 8, 8]
    counted = {int(v) for k, v in state.items() if k.endswith('num_batches_tracked')}
    assert counted == {9}
    (best,) = tmp_path.glob('best_*.pth')
    kept = load_checkpoint_file(best)['state_dict']
    iterations = 3 * int(best.stem.rsplit('_', 1)[1])
    expected = average_of(watch.weights[:iterations])
    torch.testing.assert_close(flat(kept[n] for n in names), expected)
    validated = runner.message_hub.get_scalar('val/score/nll').current()
    # The model goes on with its own weights, and is tested with the average.
    assert torch.equal(flat(runner.model.parameters()), watch.weights[-1])
    runner.model.load_state_dict(state)
    runner.hooks.remove(next(h for h in runner.hooks if isinstance(h, LTEMAHook)))
    assert runner.val_loop.run()['score/nll'] == pytest.approx(validated)


def test_testing_takes_the_weights_as_they_are(tmp_path):
    run = train(tmp_path / 'run', model=RIDE, ema=EMA)
    validated = run.message_hub.get_scalar('val/score/nll').current()
    assert run.test()['score/nll'] == pytest.approx(validated)  # In the same process.
    path = tmp_path / 'run/epoch_3.pth'
    state = load_checkpoint_file(path)['state_dict']
    wrapped = tmp_path / 'wrapped.pth'  # As a wrapper, such as DDP, names them.
    torch.save({f'module.{name}': tensor for name, tensor in state.items()}, wrapped)
    for ema, weights in ((EMA, path), (EMA, wrapped), (None, path)):
        forget_runs()
        changes = settings(model=RIDE, ema=ema, load_from=str(weights))
        with mock.patch('mmengine.device.utils.DEVICE', 'cpu'):
            got = Runner.from_cfg(tiny_config(tmp_path / 'test', **changes)).test()
        assert got['score/nll'] == pytest.approx(validated)


def test_processes_share_the_average_s_statistics(monkeypatch):
    """Their weights are equal already; layers that stand still are left alone."""
    monkeypatch.setattr(ema_module, 'get_world_size', lambda: 3)
    monkeypatch.setattr(ema_module, 'all_reduce', lambda tensor, op: tensor.fill_(7))
    model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    model[1].eval()
    hook, runner = LTEMAHook(), SimpleNamespace(model=model, iter=0, hooks=[])
    hook.before_run(runner)
    hook.after_train_epoch(runner)
    average = hook.ema_model.module
    assert average[0].running_mean.tolist() == [0, 0]  # Nothing has been trained.
    hook.after_train_iter(runner, 0)
    hook.after_train_epoch(runner)
    assert average[0].running_mean.tolist() == [7, 7]
    assert average[0].running_var.tolist() == [7, 7]
    assert average[1].running_mean.tolist() == [0, 0]
    assert model[0].running_mean.tolist() == [0, 0]
    average[0].running_mean.zero_()
    runner.hooks = [CheckpointHook(interval=2, by_epoch=False, save_last=False)]
    for runner.iter, expected in ((2, 0), (3, 7)):  # Saved after the fourth iteration.
        hook.after_train_iter(runner, 0)
        assert (average[0].running_mean.tolist() == [7, 7]) == (expected == 7)


@pytest.mark.parametrize('used', ['saved', 'validated'])
def test_buffers_that_are_no_statistics_are_the_model_s_own(used):
    """Thresholds may be infinite, and the bank of CRD gets its size before training."""
    model = nn.Module()
    model.register_buffer('bank', torch.zeros(0, 2))
    model.register_buffer('thresholds', torch.tensor([1.0, -torch.inf]))
    model.weight = nn.Parameter(torch.zeros(1))
    hook = LTEMAHook(momentum=0.5)
    runner = SimpleNamespace(model=model, iter=0, max_epochs=1, max_iters=3, hooks=[])
    hook.before_run(runner)
    model.bank = torch.ones(4, 2)
    hook.before_train(runner)
    for step in (1.0, 2.0, 3.0):
        model.weight.data.fill_(step)
        model.bank.mul_(2)
        model.thresholds[0] = step
        hook.after_train_iter(runner, 0)
    if used == 'saved':
        checkpoint = {'state_dict': model.state_dict()}
        hook.before_save_checkpoint(runner, checkpoint)
        state = checkpoint['state_dict']
    else:
        hook.before_val_epoch(runner)
        state = model.state_dict()
    assert torch.equal(state['bank'], torch.full((4, 2), 8.0))
    assert state['thresholds'].tolist() == [3.0, -torch.inf]
    assert state['weight'].item() == 2.25  # 1, then halfway to 2, then to 3.


def test_the_mean_of_all_weights_is_an_average_too():
    model = nn.Linear(1, 1)
    hook = LTEMAHook(ema_type='StochasticWeightAverage', momentum=None)
    runner = SimpleNamespace(model=model, iter=0, hooks=[])
    hook.before_run(runner)
    for step in (1.0, 2.0, 6.0):
        model.weight.data.fill_(step)
        hook.after_train_iter(runner, 0)
    assert hook.ema_model.module.weight.item() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ('before', 'after', 'message'),
    [
        (EMA, None, r'hooks.LTEMAHook: expected .*, got None'),
        (None, EMA, r'hooks.LTEMAHook: expected None, got'),
        (EMA, {**EMA, 'momentum': 0.2}, r'LTEMAHook.ema_cfg.momentum: expected 0.3'),
    ],
)
def test_a_run_is_resumed_with_the_same_averaging_only(
    tmp_path, before, after, message
):
    train(tmp_path, ema=before)
    forget_runs()
    with pytest.raises(ScheduleChangedError, match=message):
        train(tmp_path, ema=after, resume=True)


def test_a_checkpoint_without_an_average_is_refused_by_name():
    hook = LTEMAHook()
    runner = SimpleNamespace(_resume=True)
    with pytest.raises(CheckpointError, match='a run with LTEMAHook'):
        hook.after_load_checkpoint(runner, {'state_dict': {}})


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'momentum': 1.0}, r'\(0, 1\), got 1.0'),
        ({'begin_epoch': -1}, 'got -1'),
        ({'begin_epoch': 1, 'begin_iter': 2}, 'got 1 and 2'),
        ({'update_buffers': False}, 'got False'),
    ],
)
def test_wrong_settings_of_the_average_say_expected_and_got(wrong, message):
    with pytest.raises(ValueError, match=f'expected .*{message}'):
        LTEMAHook(**wrong)


def test_an_average_that_never_begins_is_refused(tmp_path):
    with pytest.raises(ValueError, match='at most max_epochs=3, got 4'):
        train(tmp_path, ema={**EMA, 'begin_epoch': 4})


def ride_and_batch():
    torch.manual_seed(0)
    model = MODELS.build({k: v for k, v in RIDE.items() if k != 'train_cfg'})
    model.head.loss_module.reweighting = False
    for module in model.modules():
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts([5, 2, 1])
    samples = [DataSample().set_gt_label(n % CLASSES) for n in range(8)]
    return model.eval(), torch.randn(8, 3, 8, 8), samples


@pytest.mark.parametrize('kind', ['OptimWrapper', 'AutocastOptimWrapper'])
def test_accumulated_batches_equal_the_large_one(kind):
    """With BatchNorm in eval mode and the same weight of all classes."""
    init_default_scope('mmpretrain')
    stepped = []
    for count in (1, 4):
        model, images, samples = ride_and_batch()
        wrapper = build_optim_wrapper(
            model,
            {
                'type': kind,
                'optimizer': {'type': 'SGD', 'lr': 0.1},
                'accumulative_counts': count,
            },
        )
        wrapper.initialize_count_status(model, 0, count)
        size = 8 // count
        for start in range(0, 8, size):
            part = slice(start, start + size)
            with wrapper.optim_context(model):
                losses = model(images[part], samples[part], mode='loss')
            wrapper.update_params(sum(losses.values()))
        stepped.append(flat(model.parameters()))
    change = (stepped[0] - flat(ride_and_batch()[0].parameters())).abs().max()
    # In bfloat16 a layer's gradient depends on how many samples it sums over.
    tolerance = 1e-5 if kind == 'OptimWrapper' else 0.02
    assert (stepped[0] - stepped[1]).abs().max() <= tolerance * change


def test_the_last_window_of_an_epoch_ends_with_it(tmp_path):
    """3 iterations, 2 a window: a step after the 2nd and, of one batch, the 3rd."""
    runner = train(
        tmp_path,
        optim_wrapper__accumulative_counts=2,
        custom_hooks=[{'type': 'WatchHook'}],
    )
    (watch,) = [hook for hook in runner.hooks if isinstance(hook, WatchHook)]
    pairs = zip(watch.weights, watch.weights[1:], strict=False)
    moved = [not torch.equal(a, b) for a, b in pairs]
    assert moved == [True, True, False, True, True, False, True, True]
    wrapper = runner.optim_wrapper
    assert wrapper.inner_count == 3
    wrapper.initialize_count_status(runner.model, 2, 3)
    assert wrapper.scale_loss(torch.tensor(6.0)) == 6.0


def test_a_test_without_training_leaves_buffers_that_grew_with_the_checkpoint():
    model = nn.Module()
    model.register_buffer('bank', torch.zeros(0, 2))
    hook, runner = LTEMAHook(), SimpleNamespace(model=model, iter=0, hooks=[])
    hook.before_run(runner)
    model.bank = torch.ones(4, 2)
    hook.before_test_epoch(runner)
    hook.before_val_epoch(runner)
    assert model.bank.tolist() == [[1, 1]] * 4
