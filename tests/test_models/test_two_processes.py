"""Two processes give the gradients of one with the joint batch.

The two also take the fast path, channels last in memory and labels in one tensor, and
the one the plain path.
"""

from unittest import mock

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from engine_helpers import HAS_COMPILER, needs_compiler
from mmengine.model import MMDistributedDataParallel
from mmpretrain.structures import DataSample

from ride_mm.engine.hooks.sync_batch_norm_stats import (
    SyncBatchNormStatsHook,
    tracked_statistics,
)
from ride_mm.models import RIDEClassifier
from ride_mm.models.compiled import compile_for_training
from ride_mm.models.teacher import Teacher
from ride_mm.structures import LabelBatch, batch_targets

COUNTS = [400, 90, 30, 4]
# Halves of very different weight: one process sees the head, the other the tail.
LABELS = [0, 3, 0, 3, 0, 2, 1, 3]
FORMS = (
    *('official', 'paper', 'mixed', 'grouped', 'compiled', 'router'),
    *('kd', 'paper_kd', 'pkt', 'sp', 'crd'),
)
GROUPED_FORMS = ('grouped', 'compiled')
GROUPED = dict(type='GroupedBN', images_per_group=2)
DISTILL = dict(
    kd=dict(type='KDLoss'),
    paper_kd=dict(type='KDLoss', form='paper'),
    pkt=dict(type='PKTLoss', loss_weight=300),
    sp=dict(type='SPLoss', loss_weight=30),
    crd=dict(type='CRDLoss', teacher_channels=3 * 48),
)


def build_model(form: str, num_experts: int = 2) -> torch.nn.Module:
    torch.manual_seed(num_experts)
    backbone = dict(type='RIDEResNetCIFAR', depth=20, norm_cfg=GROUPED)
    if form == 'compiled':
        backbone |= dict(type='ShortRIDEResNetCIFAR', depth=8)
    model = RIDEClassifier(
        num_experts=num_experts,
        distill={form: DISTILL[form]} if form in DISTILL else None,
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='RouterHead' if form == 'router' else 'MultiExpertHead',
            num_classes=len(COUNTS),
            loss=dict(type='LDAMLoss', reweight='deferred'),
            diversity=dict(
                type='DiversityLoss',
                factor=-0.45,
                form='paper' if form == 'paper' else 'official',
                class_factor=0.05,
            ),
            **(dict(top_z=2) if form == 'router' else {}),
        ),
    )
    for module in model.modules():
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts(COUNTS)
        if getattr(module, 'deferred', False):
            module.set_reweighting(True)
        if hasattr(module, 'set_num_samples'):
            module.set_num_samples(20)
    if form in DISTILL:
        model.teacher = Teacher(build_model('official', num_experts=3))
    # In eval mode or in groups BatchNorm sees one batch or two halves alike.
    return model.train(form in GROUPED_FORMS)


def gradients(
    form: str, part: slice, fast: bool, wrap=lambda model: model
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model = build_model(form)
    model.channels_last = fast
    if form == 'compiled' and fast:
        compile_for_training(model, len(LABELS) // 2)
    model = wrap(model)
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    samples = [
        DataSample(metainfo=dict(sample_idx=2 * n)).set_gt_label(label)
        for n, label in enumerate(LABELS)
    ]
    if form == 'mixed':
        # A sample and its neighbour; the shares differ, so do the processes' weights.
        one_hot = torch.eye(len(COUNTS))[LABELS]
        shares = torch.linspace(0.1, 0.9, len(LABELS))[:, None]
        mixed = shares * one_hot + (1 - shares) * one_hot.roll(1, 0)
        for sample, score in zip(samples, mixed, strict=True):
            sample.set_gt_score(score)
    samples = samples[part]
    if fast:
        places = torch.tensor([sample.sample_idx for sample in samples])
        targets = batch_targets(samples)
        labels = torch.tensor(LABELS)[part]
        scores = targets if targets.ndim > 1 else None
        samples = LabelBatch(labels, places, scores)
    losses = model(images[part], samples, mode='loss')
    total = sum(value for name, value in losses.items() if 'loss' in name)
    total.backward()
    learning = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    found = {n.removeprefix('module.'): p.grad for n, p in learning}
    banks = [buffer for name, buffer in model.named_buffers() if name.endswith('.bank')]
    found |= {f'bank {i}': bank for i, bank in enumerate(banks)}
    if form in GROUPED_FORMS:
        found |= {n: m.running_var for n, m in averaged_statistics(model)}
    return total.detach(), found


def averaged_statistics(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    runner = mock.Mock(model=model, hooks=[])
    hook = SyncBatchNormStatsHook()
    hook.after_train_iter(runner)
    hook.after_train_epoch(runner)
    return [(n.removeprefix('module.'), m) for n, m in tracked_statistics(model)]


def one_of_two(rank: int, address: str, out: str) -> None:
    dist.init_process_group('gloo', address, rank=rank, world_size=2)
    torch.set_num_threads(1)
    result = {}
    for form in FORMS:
        if form == 'compiled' and not HAS_COMPILER:
            continue
        # As MMEngine's sampler deals images out.
        part = slice(rank, None, 2)
        loss, result[form] = gradients(form, part, True, MMDistributedDataParallel)
        dist.all_reduce(loss)
        result[form]['loss'] = loss / 2
    if rank == 0:
        torch.save(result, out)
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def of_two_processes(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp('two')
    address, out = f'file://{folder}/store', str(folder / 'result.pth')
    mp.spawn(one_of_two, (address, out), nprocs=2)
    return torch.load(out, weights_only=True)


@pytest.mark.parametrize(
    'form',
    [
        pytest.param(form, marks=[needs_compiler] if form == 'compiled' else [])
        for form in FORMS
    ],
)
def test_two_processes_equal_one(form: str, of_two_processes: dict):
    got = of_two_processes[form]
    loss, expected = gradients(form, slice(0, 8), False)
    assert got.pop('loss').item() == pytest.approx(loss.item(), rel=1e-5)
    assert got.keys() == expected.keys()
    assert all('head.router' in name for name in expected) == (form == 'router')
    largest = max(g.abs().max() for g in expected.values())
    for name, gradient in expected.items():
        assert gradient.abs().sum() > 0, name
        error = (got[name] - gradient).abs().max()
        assert error <= 1e-5 * gradient.abs().max() + 1e-7 * largest, name
