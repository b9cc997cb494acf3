"""Training steps as CUDA graphs: equal to steps launched one kernel at a time."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmpretrain.registry import HOOKS, MODELS
from repeated_graphs import Repeated, RepeatedGraphHook, repeated_step, trained
from torch import nn

import ride_mm.engine.hooks.cuda_graph as hook_module
from ride_mm.engine.graphed import GraphedStep, why_not
from ride_mm.engine.hooks.nan_guard import NonFiniteError
from ride_mm.engine.optimizers import AutocastOptimWrapper
from ride_mm.models.layers import MoELayer, side_by_side
from ride_mm.models.teacher import Teacher
from ride_mm.structures import LabelBatch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
COUNTS = [40, 20, 10, 5]


@HOOKS.register_module(force=True)
class SeenLossHook(Hook):
    """Keeps what other hooks see, and the history of the loss."""

    seen, history = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(dict(outputs))

    def after_train(self, runner):
        scalars = runner.message_hub.log_scalars
        self.history.append(scalars['train/loss'].data[0].tolist())


def test_training_gives_the_same_weights_and_logs_every_loss(tmp_path):
    SeenLossHook.seen, SeenLossHook.history = [], []
    look = dict(type='SeenLossHook')
    log = dict(default_hooks__logger__interval=2)  # Of three steps an epoch.
    plain = trained(tmp_path / 'plain', custom_hooks=[look], **log)
    seen = len(SeenLossHook.seen)
    hooks = [dict(type='RepeatedGraphHook'), look]
    graphed = trained(tmp_path / 'graphed', custom_hooks=hooks, **log)
    assert graphed == plain
    assert Repeated.made >= 1
    first, second = SeenLossHook.history
    assert first == second
    assert all(SeenLossHook.seen[:seen])
    # Between two lines of the log nobody waits for a loss.
    assert not all(SeenLossHook.seen[seen:])


GROUPED = dict(type='GroupedBN', images_per_group=6)  # Of 9 and 16 images.
FORMS = {
    'plain': {},
    'router': dict(type='RouterHead', top_z=3),
    'grouped': dict(norm_cfg=GROUPED),
    'distilled': dict(distill=dict(kd=dict(type='KDLoss'), sp=dict(type='SPLoss'))),
}


def tiny(num_experts=3, norm_cfg=None, distill=None, half=False, **head):
    torch.manual_seed(0)
    loss = dict(type='LDAMLoss', max_margin=0.5, scale=30.0, reweight='deferred')
    model = MODELS.build(
        dict(
            type='RIDEClassifier',
            num_experts=num_experts,
            distill=distill,
            backbone=dict(
                type='RIDEResNetCIFAR', depth=20, norm_cfg=norm_cfg or dict(type='BN')
            ),
            neck=dict(type='GlobalAveragePooling'),
            head={
                'type': 'MultiExpertHead',
                'num_classes': len(COUNTS),
                'loss': loss,
                'diversity': dict(
                    type='DiversityLoss', factor=-0.45, class_factor=0.05
                ),
                **head,
            },
            data_preprocessor=dict(type='LTDataPreprocessor', mean=[0.0], std=[1.0]),
        )
    )
    model.head.loss_module.set_class_counts(COUNTS)
    model.head.diversity_loss.set_class_counts(COUNTS)
    if distill:
        model.teacher = Teacher(tiny(num_experts + 1)[0])
    model.train()
    optimizer = dict(type='SGD', lr=0.05, momentum=0.9, nesterov=True)
    kind = AutocastOptimWrapper if half else OptimWrapper
    return model, build_optim_wrapper(model, dict(type=kind, optimizer=optimizer))


def batches(number, size=16, device='cpu'):
    generator = torch.Generator().manual_seed(1)
    for _ in range(number):
        images = torch.randn(size, 3, 32, 32, generator=generator).to(device)
        labels = torch.randint(len(COUNTS), (size,), generator=generator).to(device)
        yield dict(inputs=images, data_samples=LabelBatch(labels, labels))


def reweight(model):
    model.head.loss_module.set_reweighting(True)
    model.head.diversity_loss.set_reweighting(True)


@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('form', FORMS)
def test_a_replayed_step_equals_the_model_s_own(form, half):
    def trained_weights(graphed):
        model, optim_wrapper = tiny(half=half, **FORMS[form])
        step = repeated_step(model) if graphed else model.train_step
        for number, size in ((3, 9), (1, 16), (1, 9)):
            for data in batches(number, size):
                step(data, optim_wrapper)
        assert not graphed or step.recordings == 1
        return model.state_dict()

    expected = trained_weights(False)
    for name, weights in trained_weights(True).items():
        assert torch.equal(weights, expected[name]), name


@pytest.mark.parametrize('sizes', [(8, 8, 8, 8), (8, 5, 8, 5, 8, 5, 8, 5)])
def test_each_shape_is_recorded_once(sizes):
    model, optim_wrapper = tiny(num_experts=1)
    step = repeated_step(model)
    for size in sizes:
        for data in batches(1, size):
            assert step(data, optim_wrapper=optim_wrapper) == {}
    assert step.recordings == len(set(sizes))
    rows = step.take_losses()
    assert len(rows) == len(sizes)
    assert {'loss', 'loss_cls'} <= set(rows[0])
    assert step.take_losses() == []


def test_a_changed_number_makes_a_new_recording():
    model, optim_wrapper = tiny()
    step = repeated_step(model)
    for data in batches(3):
        step(data, optim_wrapper)
    assert step.recordings == 1
    step.look_again()
    # The first look came before the losses had seen their counts.
    for data in batches(3):
        step(data, optim_wrapper)
    before = step._recordings.copy()
    step.look_again()
    for data in batches(1):
        step(data, optim_wrapper)
    assert step._recordings == before
    reweight(model)
    step.look_again()
    for data in batches(1):
        step(data, optim_wrapper)
    assert step.recordings == 0


def test_a_loss_that_is_no_number_is_found_though_it_came_earlier(tmp_path):
    class Broken(RepeatedGraphHook):
        def install(self, runner, step):
            super().install(runner, step)
            take = step.take_losses

            def spoilt():
                rows = take()
                rows[0]['loss'] = float('nan')
                return rows

            step.take_losses = spoilt

    HOOKS.register_module('BrokenGraphHook', force=True, module=Broken)
    changes = dict(default_hooks__logger__interval=2)
    with pytest.raises(NonFiniteError, match='iteration 1 of .*loss=nan'):
        trained(tmp_path, custom_hooks=[dict(type='BrokenGraphHook')], **changes)
    assert not list(tmp_path.glob('*.pth'))


def test_says_why_a_training_cannot_be_recorded(monkeypatch):
    model, optim_wrapper = tiny()
    assert why_not(model, optim_wrapper) is None
    several = OptimWrapper(optim_wrapper.optimizer, accumulative_counts=2)
    assert 'accumulated' in why_not(model, several)

    class Scaled(OptimWrapper):
        pass

    assert 'Scaled decides' in why_not(model, Scaled(optim_wrapper.optimizer))
    layer = MoELayer.__new__(MoELayer)
    nn.Module.__init__(layer)
    model.teacher = Teacher(nn.Sequential(layer))
    assert 'as many tokens' in why_not(model, optim_wrapper)
    model.teacher = Teacher(nn.Identity())
    assert why_not(model, optim_wrapper) is None
    loss = nn.Identity()
    loss.needs_sample_idx = True
    model.distill['crd'] = loss
    assert 'the loss crd' in why_not(model, optim_wrapper)
    monkeypatch.setattr('ride_mm.engine.graphed.step.get_world_size', lambda: 2)
    assert 'several processes' in why_not(model, optim_wrapper)
    monkeypatch.undo()
    wrapped = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    assert 'several processes' in why_not(wrapped, optim_wrapper)


def test_does_nothing_on_a_cpu(tmp_path):
    plain = trained(tmp_path / 'plain')
    hooked = trained(tmp_path / 'hooked', custom_hooks=[dict(type='CUDAGraphHook')])
    assert hooked == plain
    assert hook_module.CUDAGraphHook().enable


def test_side_by_side_keeps_the_order():
    x = torch.arange(3.0)
    results = side_by_side([lambda t: t + 1, lambda t: 2 * t], x)
    assert [r.tolist() for r in results] == [[1, 2, 3], [0, 2, 4]]


def steps_on_gpu(graphed, half, form='plain'):
    """Losses of steps through a change of the losses, and the weights after them."""
    model, _ = tiny(**FORMS[form])
    model = model.cuda()
    if model.teacher is not None:
        model.teacher.classifier.cuda()
    wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True))
    if half:
        wrapper['type'] = AutocastOptimWrapper
    optim_wrapper = build_optim_wrapper(model, wrapper)
    step = GraphedStep(model) if graphed else None
    losses = []
    for part in range(2):
        for number, size in ((4, 16), (4, 9), (3, 16)):
            for data in batches(number, size, 'cuda'):
                if graphed:
                    step(data, optim_wrapper)
                else:
                    losses.append(float(model.train_step(data, optim_wrapper)['loss']))
        if graphed:
            assert step.recordings == 2  # One for each size, in the same memory.
        if part == 0:
            reweight(model)
            if graphed:
                step.look_again()
    if graphed:
        losses = [row['loss'] for row in step.take_losses()]
    return losses, [p.detach().flatten() for p in model.parameters()]


@needs_gpu
@pytest.mark.parametrize(
    ('half', 'form'), [(True, 'plain'), *((False, form) for form in FORMS)]
)
def test_graph_equals_launches_on_a_gpu(half, form, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'deterministic', True)
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    losses, weights = steps_on_gpu(True, half, form)
    expected, expected_weights = steps_on_gpu(False, half, form)
    rel = 2e-2 if half else 1e-4
    assert losses == pytest.approx(expected, rel=rel)
    got, wanted = torch.cat(weights), torch.cat(expected_weights)
    assert (got - wanted).norm() <= rel * wanted.norm()


@needs_gpu
@pytest.mark.parametrize('half', [False, True])
def test_gradients_of_one_replay_equal_those_of_launches(half, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'deterministic', True)
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    model, _ = tiny()
    model = model.cuda()
    wrapper = dict(optimizer=dict(type='SGD', lr=0.0))
    if half:
        wrapper['type'] = AutocastOptimWrapper
    optim_wrapper = build_optim_wrapper(model, wrapper)
    step = GraphedStep(model)
    gradients = []
    for data in batches(1, 16, 'cuda'):
        for _ in range(4):  # Two launched, two replayed.
            step(data, optim_wrapper)
            parts = [p.grad.flatten().clone() for p in model.parameters()]
            gradients.append(torch.cat(parts))
    assert step.recordings == 1
    for gradient in gradients[1:]:
        off = (gradient - gradients[0]).norm() / gradients[0].norm()
        assert off <= (1e-2 if half else 1e-4)
