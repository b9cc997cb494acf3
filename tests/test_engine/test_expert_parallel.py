"""Experts split over processes give what one process gives, and are saved whole."""

import math
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from engine_helpers import checkpoint_digest, run_program
from expert_parallel_runs import GROUPS, MAX_NORM, SETTINGS, classifier
from mmengine.optim import AmpOptimWrapper
from torch import nn

from ride_mm.engine.checkpoint_io import load_checkpoint_file
from ride_mm.engine.expert_parallel import (
    ExpertParallel,
    ExpertParallelHook,
    clip_split_norm_,
    experts_of,
    split_experts,
    wrapper,
)
from ride_mm.models.layers.moe.expert_groups import ExpertGroups, make_expert_groups

PROGRAM = 'expert_parallel_runs.py'


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    names = 'steps', 'one', 'four', 'two_after_four', 'one_after_four'
    folder = tmp_path_factory.mktemp('expert_parallel')
    return run_program(PROGRAM, folder, *names, 'noisy', 'noisy_again')


@pytest.fixture(scope='module')
def steps(runs):
    return torch.load(runs / 'steps.pth', weights_only=True)


@pytest.fixture
def alone(tmp_path):
    """A process group of this process."""
    dist.init_process_group('gloo', f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize('groups', GROUPS, ids=str)
@pytest.mark.parametrize('name', SETTINGS)
def test_a_step_of_several_processes_is_that_of_one(steps, groups, name):
    """Losses, the norm that clips, and the clipped gradients of all parameters."""
    got, expected = steps[groups][name], steps[1, None][name]
    assert got.keys() == expected.keys()
    assert expected['norm'] > MAX_NORM
    grads = [value for key, value in expected.items() if key.startswith('backbone.')]
    assert len(grads) > 30
    # Where bfloat16 rounds, one rounding more or less.
    rtol, atol = (2e-2, 1e-5) if name == 'bf16' else (1e-4, 1e-7)
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, rtol=rtol, atol=atol, msg=key)


def test_the_clipped_gradient_has_the_norm(steps):
    for found in steps.values():
        grads = [
            value
            for key, value in found['plain'].items()
            if key.startswith(('backbone.', 'head.'))
        ]
        total = torch.stack([grad.norm() for grad in grads]).norm().item()
        assert total == pytest.approx(MAX_NORM, rel=1e-3)


def same(a, b, where: str = '') -> None:
    """Whether states are alike up to rounding, of the same names and shapes."""
    if isinstance(a, torch.Tensor):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=where)
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f'{where}/{key}')
    elif isinstance(a, (list, tuple)):
        for i, pair in enumerate(zip(a, b, strict=True)):
            same(*pair, f'{where}/{i}')


@pytest.mark.parametrize('name', ['four', 'two_after_four', 'one_after_four'])
def test_trained_and_resumed_by_any_number_of_processes(runs, name):
    got, expected = (
        load_checkpoint_file(runs / run / 'epoch_2.pth') for run in (name, 'one')
    )
    for part in ('state_dict', 'optimizer'):
        same(got[part], expected[part])
    # Validated with experts that are split, too.
    best = [c['message_hub']['runtime_info']['best_score'] for c in (got, expected)]
    assert best[0] == pytest.approx(best[1], rel=1e-5)
    start = load_checkpoint_file(runs / 'one/epoch_1.pth')['state_dict']
    name = 'backbone.layers.1.ffn.experts.fc1.weight'
    assert expected['state_dict'][name].shape == (4, 16, 32)
    assert not torch.allclose(start[name], expected['state_dict'][name], atol=1e-5)


def test_a_resumed_run_with_noise_and_dropout_equals_the_straight_one(runs):
    files = [runs / name / 'epoch_2.pth' for name in ('noisy', 'noisy_again')]
    assert checkpoint_digest(files[0]) == checkpoint_digest(files[1])
    assert checkpoint_digest(files[0]) != checkpoint_digest(runs / 'one/epoch_2.pth')


@pytest.mark.slow
def test_resumed_equals_straight_and_averages_too(tmp_path):
    names = 'two', 'two_after_two', 'averaged_one', 'averaged_two'
    run_program(PROGRAM, tmp_path, *names, 'one', 'four_after_one')
    digests = {checkpoint_digest(tmp_path / n / 'epoch_2.pth') for n in names[:2]}
    assert len(digests) == 1
    for a, b in (names[2:], ('one', 'four_after_one')):
        one, other = (
            load_checkpoint_file(tmp_path / n / 'epoch_2.pth') for n in (a, b)
        )
        assert one.keys() == other.keys()
        for part in ('state_dict', 'optimizer', 'ema_state_dict'):
            same(one.get(part), other.get(part))


@pytest.mark.parametrize('norm_type', [1.0, 2.0, math.inf])
def test_in_one_process_clipping_is_that_of_pytorch(alone, norm_type):
    def parameters() -> list[nn.Parameter]:
        generator = torch.Generator().manual_seed(0)
        found = [nn.Parameter(torch.zeros(n, 3)) for n in (2, 4)]
        for parameter in found:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        return found

    got, expected = parameters(), parameters()
    norm = clip_split_norm_(
        got, 0.3, norm_type, split=frozenset({id(got[1])}), group=dist.group.WORLD
    )
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(expected, 0.3, norm_type))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_a_norm_that_is_no_number_is_an_error_if_wanted(alone):
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, math.inf])
    options = dict(split=frozenset(), group=dist.group.WORLD)
    with pytest.raises(RuntimeError, match='expected a finite norm .* got inf'):
        clip_split_norm_([parameter], 1.0, error_if_nonfinite=True, **options)


def test_sizes_that_do_not_divide_the_processes(alone):
    with pytest.raises(ValueError, match='divisor of 1, the number of processes.*3'):
        make_expert_groups(3)
    with pytest.raises(ValueError, match='size: expected a divisor of 1.*got 0'):
        ExpertParallel(classifier(), size=0)


def test_sizes_that_do_not_divide_the_experts(monkeypatch):
    groups = ExpertGroups(3, 0, None, None, 3)
    monkeypatch.setattr(wrapper, 'make_expert_groups', lambda size: groups)
    message = (
        'model_wrapper_cfg.size: expected a divisor of 4, the number of experts of '
        'backbone.layers.1.ffn.experts, got 3'
    )
    with pytest.raises(ValueError, match=message):
        ExpertParallel(classifier(), size=3)


def test_a_model_without_experts_is_refused(alone):
    with pytest.raises(ValueError, match='a model with a MoELayer'):
        ExpertParallel(nn.Linear(2, 2))


def test_a_group_of_one_process_has_all_experts(alone):
    model = ExpertParallel(classifier())
    assert split_experts(model.module) == 0
    assert not any(e.is_split for e in experts_of(model.module).values())


def test_experts_that_nobody_splits_are_an_error(alone):
    model = ExpertParallel(classifier())
    model.groups = ExpertGroups(2, 0, None, None, 2)
    with pytest.raises(RuntimeError, match='ExpertParallelHook'):
        model.train_step({}, None)


def hooked(alone_model: ExpertParallel, **settings) -> mock.Mock:
    alone_model.groups = ExpertGroups(2, 0, None, None, 2)
    return mock.Mock(model=alone_model, **settings)


def test_scaled_losses_are_refused(alone):
    wrappers = mock.Mock(spec=AmpOptimWrapper), mock.Mock(spec=dict)
    for one in wrappers:
        runner = hooked(ExpertParallel(classifier()), optim_wrapper=one)
        with pytest.raises(
            ValueError, match='expected optim_wrapper.type OptimWrapper'
        ):
            ExpertParallelHook().before_train(runner)


def test_unequal_numbers_of_batches_are_refused(alone, monkeypatch):
    runner = hooked(ExpertParallel(classifier()))
    runner.val_loop.dataloader = [1, 2]
    monkeypatch.setattr(
        'ride_mm.engine.expert_parallel.hook.all_gather',
        lambda number: [number, number + 1],
    )
    with pytest.raises(ValueError, match=r'val_dataloader: .* got \[2, 3\]'):
        ExpertParallelHook().before_val(runner)
