"""Compiled networks give the logits of those that are not compiled."""

import copy

import numpy as np
import pytest
import torch
from engine_helpers import CLASSES, needs_compiler
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ride_mm.apis import Inferencer
from ride_mm.models.compiled import CompiledFeatures, compile_for_inference


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def build(model: dict) -> nn.Module:
    """A model with statistics of BatchNorm that are not the first ones."""
    torch.manual_seed(0)
    model = MODELS.build(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


def tiny() -> dict:
    return dict(
        type='ImageClassifier',
        backbone=dict(type='EngineTestNet'),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=4),
    )


def ride(**head) -> dict:
    return dict(
        type='RIDEClassifier',
        backbone=dict(type='RIDEResNetCIFAR', depth=20),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='MultiExpertHead', num_classes=5, class_counts=[9] * 5) | head,
        num_experts=2,
    )


def check_logits(model: nn.Module, side: int) -> None:
    compiled = copy.deepcopy(model)
    compile_for_inference(compiled)
    images = torch.randn(6, 3, side, side)
    with torch.no_grad():
        for batch in (images, images[:2], images[1:4]):
            expected = model(batch)
            got = compiled(batch)
            assert got.shape == expected.shape
            assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()
            predicted = compiled.predict(batch)
            assert [s.pred_label.item() for s in predicted] == got.argmax(1).tolist()


@needs_compiler
def test_logits_of_a_plain_network_in_batches_of_several_sizes():
    check_logits(build(tiny()), 8)


@needs_compiler
@pytest.mark.slow
def test_logits_of_experts_in_batches_of_several_sizes():
    check_logits(build(ride()), 16)


def distance(got: Tensor, expected: Tensor) -> float:
    return ((got - expected).norm() / expected.norm()).item()


@needs_compiler
@pytest.mark.slow
@torch.no_grad()
def test_half_precision_is_as_exact_as_that_of_the_plain_network():
    backbone = dict(type='ShortRIDEResNetCIFAR', depth=8)
    model = build(ride() | dict(backbone=backbone))
    compiled = copy.deepcopy(model)
    compile_for_inference(compiled)
    images = torch.randn(6, 3, 16, 16)
    exact = model(images)
    with torch.autocast('cpu', torch.bfloat16):
        plain, got = model(images), compiled(images)
    assert got.dtype == torch.float32
    assert 1e-4 < distance(got, exact) <= 1.5 * distance(plain, exact)


@needs_compiler
def test_an_inferencer_says_the_same_of_batches_that_are_filled_up(tmp_path):
    config = Config(
        dict(
            model=tiny(),
            data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True),
            test_dataloader=dict(
                dataset=dict(type='CustomDataset', pipeline=[dict(type='PackInputs')])
            ),
        )
    )
    torch.save(build(config.model).state_dict(), tmp_path / 'weights.pth')
    plain, compiled = (
        Inferencer(config, tmp_path / 'weights.pth', 'cpu', compile=compile)
        for compile in (False, True)
    )
    assert isinstance(compiled.model.extract_feat, CompiledFeatures)
    stream = np.random.RandomState(0)
    images = list(stream.randint(0, 256, (6, 8, 8, 3)).astype(np.uint8))
    expected, got = (one(images, batch_size=4) for one in (plain, compiled))
    assert len(got) == 6 and got[4] != got[5]
    for a, b in zip(got, expected, strict=True):
        assert a['pred_label'] == b['pred_label'] and a['num_experts'] is None
        for one, other in zip(a['top_k'], b['top_k'], strict=True):
            assert one['pred_label'] == other['pred_label']
            assert one['pred_score'] == pytest.approx(other['pred_score'], rel=1e-4)


def test_batches_of_a_vmoe_are_not_filled_up(monkeypatch):
    monkeypatch.setattr(torch, 'compile', lambda function, **kwargs: function)
    sizes = dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64)
    moe = dict(num_experts=4, router=dict(eval_capacity_factor=0.5))
    backbone = dict(type='VMoE', arch=sizes, img_size=8, patch_size=2, moe=moe)
    head = dict(type='LinearClsHead', num_classes=CLASSES, in_channels=32)
    model = dict(type='VMoEClassifier', backbone=backbone, head=head)
    check_logits(build(model), 8)


def test_what_cannot_be_compiled_is_told(monkeypatch):
    with pytest.raises(ValueError, match='without routers, got a RouterHead'):
        compile_for_inference(build(ride(type='RouterHead')))
    with pytest.raises(ValueError, match='without routers, got a RouterHead'):
        Inferencer('ride_r20_digitslt_small_router', device='cpu', compile=True)
    with pytest.raises(ValueError, match='in eval mode, got training mode'):
        compile_for_inference(build(tiny()).train())

    def broken(*args, **kwargs):
        raise torch._dynamo.exc.TorchDynamoException('no compiler\nhere')

    monkeypatch.setattr(torch, 'compile', lambda *args, **kwargs: broken)
    model = build(tiny())
    compile_for_inference(model)
    with pytest.raises(RuntimeError, match=r'expected a C\+\+ compiler.*got no'):
        model(torch.randn(1, 3, 8, 8))
