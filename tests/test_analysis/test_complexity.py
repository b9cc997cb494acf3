import pytest
import torch
from torch import nn

from ride_mm.analysis import model_complexity


@pytest.mark.parametrize('training', [True, False])
def test_counts_have_the_closed_form(training):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10),
    ).train(training)
    parameters, operations = model_complexity(model, (3, 4, 4))
    assert parameters == 8 * 3 * 9 + 10 * 8 * 16 + 10
    assert operations == 16 * 8 * 3 * 9 + 10 * 8 * 16
    assert model.training == training


def test_batch_norm_counts_two_for_each_value():
    model = nn.BatchNorm2d(3)
    before = model.running_mean.clone()
    assert model_complexity(model, (3, 4, 4)) == (6, 2 * 3 * 4 * 4)
    assert torch.equal(model.running_mean, before)
