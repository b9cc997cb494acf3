"""Pictures of predictions have the colours of the images."""

import logging
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.visualization import Visualizer
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from torch import nn

from ride_mm.datasets import LTCIFAR100
from ride_mm.engine.hooks import LTVisualizationHook
from ride_mm.engine.hooks.dataset_check import warn_of_channel_order
from ride_mm.engine.hooks.visualization import turns_to_rgb


class Model(nn.Module):
    def __init__(self, **preprocessor) -> None:
        super().__init__()
        self.data_preprocessor = ClsDataPreprocessor(**preprocessor)


class Wrapper(nn.Module):
    def __init__(self, module) -> None:
        super().__init__()
        self.module = module


def test_the_preprocessor_is_found_in_a_wrapper():
    for to_rgb in (True, False):
        assert turns_to_rgb(Wrapper(Model(to_rgb=to_rgb))) is to_rgb
    assert turns_to_rgb(nn.Linear(1, 1)) is None


@pytest.fixture
def hook(tmp_path, monkeypatch) -> LTVisualizationHook:
    # The hook takes the visualizer of the run.
    visualizer = UniversalVisualizer()
    monkeypatch.setattr(Visualizer, 'get_current_instance', lambda: visualizer)
    return LTVisualizationHook(enable=True, interval=1, out_dir=str(tmp_path))


@pytest.mark.parametrize('as_list', [True, False])
@pytest.mark.parametrize('to_rgb', [True, False])
def test_a_red_image_is_drawn_red(hook, tmp_path, to_rgb, as_list):
    red = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    red[:, 2 if to_rgb else 0] = 255
    sample = DataSample().set_pred_label(1)
    batch = dict(inputs=list(red) if as_list else red)
    hook.before_test(SimpleNamespace(model=Model(to_rgb=to_rgb)))
    before = red.clone()
    hook.after_test_iter(None, 0, batch, [sample])
    assert torch.equal(red, before)
    drawn = cv2.imread(str(tmp_path / '0_0.png'))
    np.testing.assert_array_equal(drawn[-8:, -8:].reshape(-1, 3), [[0, 0, 255]] * 64)


def test_nothing_is_drawn_unless_asked(hook, tmp_path):
    hook.enable = False
    hook.before_test(SimpleNamespace(model=Model(to_rgb=True)))
    hook.after_test_iter(None, 0, dict(inputs=[None]), [DataSample()])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('to_rgb', [True, False])
def test_cifar_with_the_other_order_is_named(to_rgb, caplog):
    logger = logging.getLogger('channels')
    runner = SimpleNamespace(model=Wrapper(Model(to_rgb=to_rgb)), logger=logger)
    # Only its class is looked at.
    dataset = SimpleNamespace(dataset=LTCIFAR100.__new__(LTCIFAR100))
    warn_of_channel_order(runner, dataset)
    expected = [] if to_rgb else ['to_rgb=True for the images']
    assert len(caplog.messages) == len(expected)
    for message, words in zip(caplog.messages, expected, strict=True):
        assert words in message
        assert 'are BGR, got to_rgb=False' in message
