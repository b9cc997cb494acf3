from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from engine_helpers import run_tiny
from mmengine.config import Config
from mmpretrain.registry import OPTIM_WRAPPERS
from torch import nn

from ride_mm.engine.checkpoint_io import load_checkpoint_file


def make(model: nn.Module, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return OPTIM_WRAPPERS.build(
        {'type': 'AutocastOptimWrapper', 'optimizer': optimizer, **options}
    )


def test_forward_is_bfloat16_and_parameters_stay_fp32():
    model = nn.Linear(4, 2)
    wrapper = make(model)
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(torch.ones(3, 4))
    wrapper.update_params(output.float().square().mean())
    assert output.dtype == torch.bfloat16
    assert model.weight.dtype == torch.float32
    assert model.weight.isfinite().all()
    assert not torch.equal(model.weight, before)


def test_a_step_equals_one_written_by_hand():
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    model = nn.Sequential(convolution, norm, nn.Flatten(), nn.Linear(64, 5))
    by_hand, fp32 = deepcopy(model), deepcopy(model)
    images, labels = torch.randn(8, 3, 6, 6), torch.arange(8) % 5

    wrapper = make(model)
    with wrapper.optim_context(model):
        loss = F.cross_entropy(model(images), labels)
    wrapper.update_params(loss)

    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = F.cross_entropy(by_hand(images), labels)
    loss.backward()
    torch.optim.SGD(by_hand.parameters(), lr=0.1).step()
    F.cross_entropy(fp32(images), labels).backward()
    torch.optim.SGD(fp32.parameters(), lr=0.1).step()

    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, by_hand.get_parameter(name)), name
        assert not torch.equal(parameter, fp32.get_parameter(name)), name


def test_two_accumulated_halves_equal_the_whole_batch():
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    weights = []
    for parts in (1, 2):
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        wrapper = make(model, accumulative_counts=parts)
        wrapper.initialize_count_status(model, 0, parts)
        for part in inputs.chunk(parts):
            with wrapper.optim_context(model):
                loss = model(part).float().square().mean()
            wrapper.update_params(loss)
        weights.append(model.weight.detach())
    torch.testing.assert_close(*weights, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize('option', [{'dtype': 'float16'}, {'loss_scale': 'dynamic'}])
def test_options_of_fp16_are_refused(option):
    with pytest.raises(ValueError, match='AmpOptimWrapper'):
        make(nn.Linear(1, 1), **option)


def test_training_stays_finite_in_fp32(tmp_path, monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')
    run_tiny(tmp_path, optim_wrapper__type='AutocastOptimWrapper')
    state = load_checkpoint_file(tmp_path / 'epoch_3.pth')['state_dict']
    floating = [value for value in state.values() if value.is_floating_point()]
    assert floating
    for value in floating:
        assert value.dtype == torch.float32
        assert value.isfinite().all()
