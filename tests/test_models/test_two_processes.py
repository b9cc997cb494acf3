"""Two processes give the gradients of one with the joint batch.

The two also take the fast path, channels last in memory and labels in one tensor, and
the one the plain path.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from engine_helpers import HAS_COMPILER, needs_compiler
from mmengine.model import MMDistributedDataParallel
from mmpretrain.structures import DataSample
from torch.fx.passes import split_module

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
HALF = ' in bf16'
FORMS = (
    *('official', 'paper', 'mixed', 'grouped', 'compiled', 'by_image', 'router'),
    *('kd', 'paper_kd', 'pkt', 'sp', 'crd'),
    *(form + HALF for form in ('official', 'mixed', 'grouped', 'router', 'kd', 'crd')),
)
# Their BatchNorm computes statistics: of groups, or each process of its own images.
TRAINED_FORMS = ('grouped', 'compiled', 'by_image')
COMPILED_FORMS = ('compiled', 'by_image')
STATISTICS = ('running_mean', 'running_var')
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
    if form in COMPILED_FORMS:
        backbone |= dict(type='ShortRIDEResNetCIFAR', depth=8)
    if form == 'by_image':
        backbone |= dict(norm_cfg=dict(type='BN'))
    model = RIDEClassifier(
        num_experts=num_experts,
        distill={form: DISTILL[form]} if form in DISTILL else None,
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='RouterHead' if form == 'router' else 'MultiExpertHead',
            num_classes=len(COUNTS),
            loss=dict(
                type='LDAMLoss', reweight=None if form == 'by_image' else 'deferred'
            ),
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
    # In eval mode or in groups BatchNorm sees one batch or two halves alike; by image
    # it is compared with the halves.
    return model.train(form in TRAINED_FORMS)


def gradients(
    form: str, part: slice, fast: bool, wrap=lambda model: model
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    half, form = form.endswith(HALF), form.removesuffix(HALF)
    model = build_model(form)
    model.channels_last = fast
    if form in COMPILED_FORMS and fast:
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
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        losses = model(images[part], samples, mode='loss')
    assert all(value.dtype == torch.float32 for value in losses.values())
    total = sum(value for name, value in losses.items() if 'loss' in name)
    total.backward()
    learning = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    found = {n.removeprefix('module.'): p.grad for n, p in learning}
    banks = [buffer for name, buffer in model.named_buffers() if name.endswith('.bank')]
    found |= {f'bank {i}': bank for i, bank in enumerate(banks)}
    if form in TRAINED_FORMS:
        for name, norm in averaged_statistics(model):
            found |= {f'{name}.{kind}': getattr(norm, kind) for kind in STATISTICS}
    return total.detach(), found


def mean_of_halves(form: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What two processes should have if each normalises its own images."""
    halves = [gradients(form, slice(rank, None, 2), False) for rank in (0, 1)]
    (loss, found), (other_loss, other) = halves
    mean = {name: (found[name] + other[name]) / 2 for name in found}
    return (loss + other_loss) / 2, mean


def averaged_statistics(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    runner = mock.Mock(model=model, hooks=[])
    hook = SyncBatchNormStatsHook()
    hook.after_train_iter(runner)
    hook.after_train_epoch(runner)
    return [(n.removeprefix('module.'), m) for n, m in tracked_statistics(model)]


@contextmanager
def small_buckets() -> Iterator[mock.Mock]:
    """Let PyTorch split compiled code by DDP's buckets, as it does large networks'."""
    whole = split_module.split_module
    with (
        mock.patch.object(dist, '_DEFAULT_FIRST_BUCKET_BYTES', 2**16),
        mock.patch.object(split_module, 'split_module', wraps=whole) as split,
    ):
        yield split


def one_of_two(rank: int, address: str, out: str) -> None:
    dist.init_process_group('gloo', address, rank=rank, world_size=2)
    torch.set_num_threads(1)
    result = {}
    for form in FORMS:
        if form in COMPILED_FORMS and not HAS_COMPILER:
            continue
        # As MMEngine's sampler deals images out.
        part = slice(rank, None, 2)
        with small_buckets() as split:
            loss, result[form] = gradients(form, part, True, MMDistributedDataParallel)
        assert split.called == (form in COMPILED_FORMS)
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
        pytest.param(form, marks=[needs_compiler] if form in COMPILED_FORMS else [])
        for form in FORMS
    ],
)
def test_two_processes_equal_one(form: str, of_two_processes: dict):
    got = of_two_processes[form]
    if form == 'by_image':
        loss, expected = mean_of_halves(form)
    else:
        loss, expected = gradients(form, slice(0, 8), False)
    exact, floor = (2e-2, 1e-3) if form.endswith(HALF) else (1e-5, 1e-7)
    assert got.pop('loss').item() == pytest.approx(loss.item(), rel=exact)
    assert got.keys() == expected.keys()
    routers = form.removesuffix(HALF) == 'router'
    assert all('head.router' in name for name in expected) == routers
    largest = max(g.abs().max() for g in expected.values())
    for name, gradient in expected.items():
        assert gradient.abs().sum() > 0, name
        error = (got[name] - gradient).abs().max()
        assert error <= exact * gradient.abs().max() + floor * largest, name
