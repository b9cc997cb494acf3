"""Trainings in two processes end as in one, by fast paths as by plain ones."""

from pathlib import Path

import pytest
import torch
from ddp_runs import TRAININGS
from engine_helpers import HAS_COMPILER, checkpoint_digest, needs_compiler, run_program

from ride_mm.engine.checkpoint_io import load_checkpoint_file


@pytest.fixture(scope='module')
def runs(tmp_path_factory) -> Path:
    names = [name for name in TRAININGS if HAS_COMPILER or 'compiled' not in name]
    return run_program('ddp_runs.py', tmp_path_factory.mktemp('ddp'), *names)


def tensors_of(state: object, name: str = '') -> dict[str, torch.Tensor]:
    """All tensors of a state by their place in it."""
    if isinstance(state, torch.Tensor):
        return {name: state.double()}
    if isinstance(state, dict):
        inside = state.items()
    else:
        inside = enumerate(state) if isinstance(state, (list, tuple)) else ()
    found = {}
    for key, value in inside:
        found |= tensors_of(value, f'{name}/{key}')
    return found


def end_of(folder: Path, name: str) -> tuple[dict[str, torch.Tensor], float]:
    """Weights, statistics of BatchNorm, averages and momenta; the best score."""
    checkpoint = load_checkpoint_file(folder / name / 'epoch_2.pth')
    parts = ('state_dict', 'optimizer', 'ema_state_dict')
    found = tensors_of({part: checkpoint.get(part, {}) for part in parts})
    assert any('running_mean' in key for key in found)
    assert any('momentum' in key for key in found)
    return found, checkpoint['message_hub']['runtime_info']['best_score']


def check_alike(folder: Path, name: str, other: str) -> None:
    (got, score), (expected, other_score) = (end_of(folder, n) for n in (name, other))
    assert score == pytest.approx(other_score, rel=1e-5)
    assert got.keys() == expected.keys()
    for key, tensor in expected.items():
        assert (got[key] - tensor).abs().max() <= 1e-5 * tensor.abs().max(), key


def test_two_processes_end_as_one(runs):
    check_alike(runs, 'two', 'one')
    check_alike(runs, 'two_averaged', 'one_averaged')


def test_two_processes_in_bf16_end_as_near_to_fp32_as_one(runs):
    exact, half, two = (end_of(runs, n)[0] for n in ('one', 'one_half', 'two_half'))

    def error(found: dict[str, torch.Tensor]) -> float:
        parts = (found[key] - exact[key] for key in exact if 'momentum' in key)
        return sum(part.square().sum().item() for part in parts) ** 0.5

    assert 0 < error(two) < 1.25 * error(half)


@needs_compiler
def test_compiled_processes_end_as_plain_ones(runs):
    log = next((runs / 'two_compiled').glob('*/*.log')).read_text()
    assert 'The backbone is compiled' in log
    check_alike(runs, 'two_compiled', 'two')


def test_data_by_the_batch_give_the_same_to_the_bit(runs):
    digests = [
        checkpoint_digest(runs / name / 'epoch_2.pth')
        for name in ('two_batched', 'two')
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize('name', ['two', 'two_half'])
def test_resumed_processes_end_as_straight_ones_to_the_bit(runs, name):
    digests = [
        checkpoint_digest(runs / n / 'epoch_2.pth') for n in (name, f'{name}_after_two')
    ]
    assert digests[0] == digests[1]
