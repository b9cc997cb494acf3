"""Training with a compiled backbone: equal to that of the plain one up to rounding."""

import copy
import io

import pytest
import torch
from engine_helpers import (
    checkpoint_digest,
    forget_runs,
    needs_compiler,
    run_tiny,
    stopped_in_epoch_two,
)
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from torch import nn
from torch.utils.data import DataLoader

from ride_mm.engine.checkpoint_io import load_checkpoint_file
from ride_mm.engine.hooks.compile import (
    CompileHook,
    why_no_whole_batch,
    why_not_compile,
)
from ride_mm.models import compiled
from ride_mm.models.compiled import (
    CPU_OPTIONS,
    compile_for_training,
    restore_plain,
    trains_compiled,
)
from ride_mm.structures import LabelBatch

CLASSES = 4
COMPILED = dict(default_hooks__compile__enable=True)
HALF = dict(optim_wrapper__type='AutocastOptimWrapper')


def ride(**head) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmpretrain.RIDEClassifier',
            num_experts=2,
            backbone=dict(type='ShortRIDEResNetCIFAR', depth=8),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='MultiExpertHead', num_classes=CLASSES) | head,
        )
    )
    return model.train()


def one_step(model: nn.Module, half: bool = False) -> dict[str, torch.Tensor]:
    """Features of all experts, and each gradient and statistic after a step."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, 16, 16, generator=generator)
    labels = torch.arange(8) % CLASSES
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        feats = model.extract_feat(images)
        losses = model.head.loss(feats, LabelBatch(labels, labels))
    losses['loss_cls'].backward()
    found = {f'feature {e}': feat.detach().float() for e, feat in enumerate(feats)}
    found |= {f'gradient of {n}': p.grad for n, p in model.named_parameters()}
    return found | {n: b for n, b in model.named_buffers() if b.is_floating_point()}


@needs_compiler
def test_values_and_gradients_of_experts():
    plain, compiled = ride(), ride()
    compile_for_training(compiled, batch_size=8)
    expected = one_step(plain)
    for name, got in one_step(compiled).items():
        limit = 1e-4 if name.startswith('gradient') else 1e-5
        assert (got - expected[name]).norm() <= limit * expected[name].norm(), name


@needs_compiler
def test_half_precision_is_about_as_far_from_the_whole_one():
    plain, compiled = ride(), ride()
    compile_for_training(compiled, batch_size=8)
    expected = torch.cat([v.flatten() for v in one_step(ride()).values()])
    plain_error, error = (
        (torch.cat([v.flatten() for v in one_step(m, True).values()]) - expected).norm()
        for m in (plain, compiled)
    )
    assert 0 < plain_error < 0.5 * expected.norm()
    assert error <= 1.25 * plain_error


def train(folder, **changes) -> str:
    """Digest of the last checkpoint of a tiny run with Mixup and dropout."""
    forget_runs()
    run_tiny(folder, **changes)
    return checkpoint_digest(folder / 'epoch_3.pth')


def weights(folder) -> torch.Tensor:
    state = load_checkpoint_file(folder / 'epoch_3.pth')['state_dict']
    return torch.cat([value.flatten().float() for value in state.values()])


@needs_compiler
@pytest.mark.parametrize('precision', [{}, HALF], ids=['fp32', 'bf16'])
def test_a_training_ends_where_the_plain_one_does(tmp_path, monkeypatch, precision):
    calls = []
    original = torch.compile

    def counted(function, **kwargs):
        compiled = original(function, **kwargs)
        return lambda x: calls.append(len(x)) or compiled(x)

    monkeypatch.setattr(torch, 'compile', counted)
    train(tmp_path / 'plain', **precision)
    assert not calls
    train(tmp_path / 'compiled', **COMPILED, **precision)
    # The check, and nine steps: validation is not compiled.
    assert calls == [8] + 9 * [8]
    plain, compiled = weights(tmp_path / 'plain'), weights(tmp_path / 'compiled')
    limit = 1e-2 if precision else 1e-5
    assert (compiled - plain).norm() <= limit * plain.norm()


@needs_compiler
@pytest.mark.parametrize('precision', [{}, HALF], ids=['fp32', 'bf16'])
def test_a_resumed_run_equals_a_straight_one(tmp_path, monkeypatch, precision):
    changes = COMPILED | precision
    straight = train(tmp_path / 'straight', **changes)
    with stopped_in_epoch_two(monkeypatch):
        train(tmp_path / 'halted', **changes)
    torch._dynamo.reset()
    assert train(tmp_path / 'halted', resume=True, **changes) == straight


# Where the layout of memory differs, too: it is as free as compiling is.
PLAIN = dict(default_hooks__compile__enable=False, model__channels_last=False)
LDAM = dict(type='LDAMLoss', reweight='always')


@needs_compiler
@pytest.mark.parametrize(
    ('first', 'then'), [(PLAIN, COMPILED), (COMPILED, PLAIN)], ids=['plain', 'compiled']
)
def test_one_way_to_compute_goes_on_where_the_other_stopped(
    tmp_path, monkeypatch, first, then
):
    def ends(name: str, **changes) -> torch.Tensor:
        model = dict(
            type='RIDEClassifier',
            num_experts=2,
            backbone=dict(type='ShortRIDEResNetCIFAR', depth=8),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='MultiExpertHead', num_classes=3, loss=LDAM),
        )
        changes = dict(model=model | dict(_delete_=True)) | changes
        train(tmp_path / name, optim_wrapper__optimizer__lr=1e-3, **changes)
        return weights(tmp_path / name)

    plain = ends('straight', **PLAIN)
    with stopped_in_epoch_two(monkeypatch):
        ends('halted', **first)
    other = ends('halted', resume=True, **then)
    assert (other - plain).norm() <= 1e-5 * plain.norm()


def test_only_whole_batches_in_training_are_compiled(monkeypatch):
    def stand_in(function, **kwargs):
        return lambda x: tuple(feat + 1 for feat in function(x))

    monkeypatch.setattr(torch, 'compile', stand_in)
    model = ride()
    compile_for_training(model, batch_size=4)
    images = torch.zeros(4, 3, 8, 8)

    def was_compiled(images, *stage):
        with torch.no_grad():
            plain = type(model).extract_feat(model, images, *stage)
            return torch.equal(model.extract_feat(images, *stage)[0], plain[0] + 1)

    assert was_compiled(images)
    assert not was_compiled(images, 'backbone')
    assert not was_compiled(images[:3])
    model.eval()
    assert not was_compiled(images)


def test_checkpoints_and_model_are_the_plain_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, 'compile', lambda function, **kwargs: function)
    plain = train(tmp_path / 'plain')
    forget_runs()
    runner = run_tiny(tmp_path / 'compiled', **COMPILED)
    assert checkpoint_digest(tmp_path / 'compiled/epoch_3.pth') == plain
    assert 'extract_feat' not in vars(runner.model)


def test_says_why_a_backbone_is_not_compiled():
    assert why_not_compile(ride()) is None
    assert 'only routers' in why_not_compile(ride(type='RouterHead'))
    assert 'no ImageClassifier, but a Linear' in why_not_compile(nn.Linear(1, 1))
    sizes = dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64)
    backbone = dict(type='VMoE', arch=sizes, img_size=8, patch_size=2)
    vmoe = ImageClassifier(dict(backbone, moe=dict(num_experts=4)))
    assert 'V-MoE' in why_not_compile(vmoe)


def test_a_machine_without_compiler_is_told_before_the_first_batch(
    tmp_path, monkeypatch
):
    def broken(*args, **kwargs):
        raise torch._dynamo.exc.TorchDynamoException('no compiler\nhere')

    monkeypatch.setattr(torch, 'compile', lambda *args, **kwargs: broken)
    monkeypatch.setattr(ImageClassifier, 'train_step', None)
    with pytest.raises(RuntimeError, match=r'expected a C\+\+ compiler.*got no comp'):
        run_tiny(tmp_path, **COMPILED)


def in_a_file(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize('copied', [copy.deepcopy, in_a_file])
def test_a_copy_is_plain(monkeypatch, copied):
    monkeypatch.setattr(torch, 'compile', lambda function, **kwargs: None)
    model = ride()
    compile_for_training(model, batch_size=2)
    other = copied(model)
    with torch.no_grad():
        other.backbone.conv1.weight.zero_()
        assert len(other.extract_feat(torch.zeros(2, 3, 8, 8))) == 2
    assert model.backbone.conv1.weight.any()
    assert trains_compiled(model) and not trains_compiled(other)
    restore_plain(other)
    assert other.extract_feat.__func__ is type(model).extract_feat


def test_what_was_there_comes_back(monkeypatch):
    monkeypatch.setattr(torch, 'compile', lambda function, **kwargs: None)
    model = ride()

    def own(x):
        return (x,)

    model.extract_feat = own
    for _ in range(2):
        compile_for_training(model, batch_size=2)
    restore_plain(model)
    assert model.extract_feat is own
    restore_plain(model)
    assert model.extract_feat is own


def test_a_set_without_a_whole_batch_is_not_compiled():
    images = [torch.zeros(3)] * 7
    assert why_no_whole_batch(DataLoader(images, 7)) is None
    assert 'of 8 images, with 7' in why_no_whole_batch(DataLoader(images, 8))
    assert why_no_whole_batch(DataLoader(images, 8, sampler=[0] * 8)) is None
    assert 'with 4' in why_no_whole_batch(DataLoader(images, 7, sampler=[0] * 4))
    by_own_size = DataLoader(images, batch_sampler=[[0, 1], [2]])
    assert 'sizes of their own' in why_no_whole_batch(by_own_size)


def options_of(monkeypatch, **hook) -> dict:
    """Those that reach ``torch.compile``."""
    found = []
    monkeypatch.setattr(torch, 'compile', lambda f, **kwargs: found.append(kwargs))
    compile_for_training(ride(), 8, CompileHook(**hook).options)
    return found[0]['options']


def test_options_may_be_nested_and_win(monkeypatch):
    assert options_of(monkeypatch) == {'fallback_random': True, **CPU_OPTIONS}
    nested = {'cpp': {'simdlen': 256, 'enable_tiling_heuristics': True}}
    got = options_of(monkeypatch, options={**nested, 'cpp_wrapper': True})
    assert got['cpp.simdlen'] == 256 and got['cpp_wrapper']
    assert got['cpp.enable_tiling_heuristics']
    with pytest.raises(ValueError, match=r"such as cpp_wrapper.*got \['cp_wrapper"):
        CompileHook(options={'cp_wrapper': True})


@pytest.mark.parametrize('options', [True, ['cpp_wrapper'], {1: 2}])
def test_what_are_no_options_is_refused(options):
    with pytest.raises(ValueError, match=r'CompileHook\.options: expected'):
        CompileHook(options=options)


def test_wrong_values_are_refused_and_change_nothing():
    model = ride()
    with pytest.raises(ValueError, match=r'CompileHook\.options: expected .*bool'):
        compile_for_training(model, 8, {'max_autotune': 'yes'})
    assert 'extract_feat' not in vars(model)


def test_options_of_another_pytorch_are_left_out(monkeypatch):
    monkeypatch.setattr(compiled, 'option_names', lambda: frozenset({'cpp.simdlen'}))
    assert options_of(monkeypatch) == {'fallback_random': True}
