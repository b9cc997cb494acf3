"""Training steps on a GPU that is not there: nothing is elsewhere or waited for."""

from pathlib import Path
from unittest import mock

import pytest
import torch
from fake_gpu import HostCopyError, NoHostCopies, fake_gpu, move
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)

from ride_mm.models.layers import MoELayer
from ride_mm.models.layers.grouped_batch_norm import GroupedBatchNorm2d
from ride_mm.models.losses import LongTailedLoss
from ride_mm.models.teacher import Teacher
from ride_mm.structures import LabelBatch

CONFIGS = Path(__file__).parents[2] / 'configs'
BY_THE_BATCH = [
    'baselines/ce_r32_cifar100lt',
    'baselines/ldam-drw_r32_cifar100lt',
    'ride/ride_r32_cifar100lt',
    'ride/ride_r32_cifar100lt_modern',  # Mixup
    'ride/ride_r32_cifar100lt_router',
]
ONE_BY_ONE = [
    'ride/ride_convnext-tiny_custom',
    'ride/ride_r10_imagenetlt',
    'ride/ride_r10_imagenetlt_router',
    'ride/ride_r50_custom',
    'ride/ride_r50_inat18',
    'ride/ride_rx50_imagenetlt',
    'ride/ride_swint_imagenetlt',  # Mixup, CutMix
]
N = 8


def build(name: str, **changes) -> nn.Module:
    """A config's model in training mode, every second class a rare one."""
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.model.setdefault('data_preprocessor', config.get('data_preprocessor'))
    config.model.update(changes)
    model = MODELS.build(config.model).train()
    for module in model.modules():
        if hasattr(module, 'set_class_counts'):
            classes = model.head.num_classes
            module.set_class_counts([500 if c % 2 else 5 for c in range(classes)])
            if isinstance(module, LongTailedLoss):
                module.set_reweighting(True)
    return model


def batch(name: str) -> dict:
    """What a config's loader hands over, on the CPU."""
    size = 32 if name in BY_THE_BATCH else 224
    images = torch.zeros(N, 3, size, size, dtype=torch.uint8)
    if name in BY_THE_BATCH:
        labels = torch.zeros(N, dtype=torch.int64)
        return dict(inputs=images, data_samples=LabelBatch(labels, labels))
    samples = [DataSample().set_gt_label(torch.zeros(1).long()) for _ in range(N)]
    return dict(inputs=images, data_samples=samples)


def step(model: nn.Module, data: dict) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and what is logged."""
    data = model.data_preprocessor(data, True)
    assert data['inputs'].is_cuda
    with NoHostCopies():
        losses = model(data['inputs'], data['data_samples'], mode='loss')
        return model.parse_losses(losses)


@pytest.mark.parametrize('name', BY_THE_BATCH + ONE_BY_ONE)
def test_a_step_is_on_the_gpu_and_waits_for_nothing(name):
    model = build(name)
    with fake_gpu():
        move(model)
        loss, logged = step(model, batch(name))
        assert loss.is_cuda
        assert all(value.is_cuda for value in logged.values())


@pytest.mark.parametrize(
    'loss',
    [
        dict(type='KDLoss'),
        dict(type='PKTLoss'),
        dict(type='SPLoss'),
        dict(type='CRDLoss', teacher_channels=4 * 48),
    ],
    ids=lambda loss: loss['type'],
)
def test_so_is_a_step_of_distillation(loss):
    name = 'ride/ride_r32_cifar100lt'
    model = build(name, distill=dict(taught=loss))
    teacher = build(name, num_experts=4)
    if loss['type'] == 'CRDLoss':
        model.distill['taught'].set_num_samples(10_000)
    with fake_gpu():
        move(model)
        move(teacher)
        model.teacher = Teacher(teacher)
        loss, logged = step(model, batch(name))
        assert loss.is_cuda and logged['loss_taught'].is_cuda


def test_so_is_a_step_of_experts_among_tokens():
    name = 'vmoe/vmoe_s32_last2_imagenet'
    model = build(name)
    for module in model.modules():
        if isinstance(module, MoELayer):
            module.static_shapes = True  # Else it asks how many tokens there are.
    with fake_gpu():
        move(model)
        loss, _ = step(model, batch(name))
        assert loss.is_cuda


@pytest.mark.parametrize(
    'name', ['ride/ride_r32_cifar100lt_router', 'ride/ride_r10_imagenetlt_router']
)
def test_routing_is_on_the_gpu_but_for_who_goes_on(name):
    model = build(name).eval()

    def first_half(going: Tensor) -> Tensor:
        assert going.is_cpu and going.dtype == torch.bool
        return torch.arange(len(going) // 2)[:, None]

    with fake_gpu(), mock.patch.object(Tensor, 'nonzero', first_half):
        move(model)
        routed = model.route(torch.zeros(N, 3, 64, 64, device='cuda'))
        assert routed.logits.is_cuda and routed.logits.shape[0] == N
        assert routed.num_experts.is_cuda


@pytest.mark.parametrize('images_per_group', [4, 3])
@pytest.mark.parametrize('momentum', [0.1, None])
def test_so_is_a_step_of_grouped_statistics(images_per_group, momentum):
    model = build('ride/ride_r50_inat18')
    for module in model.modules():
        if isinstance(module, GroupedBatchNorm2d):
            module.images_per_group, module.momentum = images_per_group, momentum
    with fake_gpu():
        move(model)
        loss, _ = step(model, batch('ride/ride_r50_inat18'))
        assert loss.is_cuda


@pytest.mark.parametrize(
    'copy',
    [
        lambda x: x.new_tensor(100.0),
        lambda x: x[torch.arange(2)],
        lambda x: torch.ones(3).to('cuda'),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: x.index_put_((torch.arange(3),), x),
    ],
)
def test_a_copy_within_a_step_is_found(copy):
    with fake_gpu():
        x = torch.ones(3, device='cuda')
        with pytest.raises(HostCopyError), NoHostCopies():
            copy(x)
        with NoHostCopies():
            assert (x * torch.tensor(2.0) + x.new_full((), 1.0)).is_cuda


class OwnLoss(LongTailedLoss):
    """Leaves out what is no number, and looks which these are."""

    def losses(self, logits, label):
        found = super().losses(logits, label)
        where = found.isnan().nonzero(as_tuple=True)
        return found.index_put(where, found.new_zeros(()))


def test_a_step_that_waits_or_stays_on_the_cpu_is_found():
    name = 'ride/ride_r32_cifar100lt_modern'
    model = build(name)
    model.head.loss_module = OwnLoss()
    elsewhere = build('ride/ride_r32_cifar100lt')
    with fake_gpu():
        move(model)
        with pytest.raises(DynamicOutputShapeException, match='nonzero'):
            step(model, batch(name))
        with pytest.raises(DataDependentOutputException):
            float(torch.ones((), device='cuda'))
        move(elsewhere)
        elsewhere.head.loss_module.class_counts = torch.ones(100)
        with pytest.raises(RuntimeError, match='device'):
            step(elsewhere, batch(name))
