"""Hooks that compare data sets with each other and checkpoints with models."""

from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.runner import BaseLoop
from mmpretrain.models import ResNet, VisionTransformer
from mmpretrain.registry import MODELS

from ride_mm.datasets import Digits, LongTailed
from ride_mm.engine.checkpoint_io import CheckpointError
from ride_mm.engine.hooks import DatasetCheckHook, FitCheckHook
from ride_mm.engine.hooks.fit_check import OPTIONAL, misfits
from ride_mm.models import RIDEClassifier

HELD_OUT = dict(fraction=0.2, seed=0)


def digits(part=None, factor=20, **kwargs):
    if part is None:
        return Digits(split='test', pipeline=[], test_mode=True, **kwargs)
    return LongTailed(
        Digits(split='train', pipeline=[], test_mode=part == 'val', **kwargs),
        imbalance='exp',
        factor=factor,
        held_out=HELD_OUT,
        part=part,
    )


def build_runner(train, val):
    loader = SimpleNamespace
    return SimpleNamespace(
        train_dataloader=loader(dataset=train),
        val_dataloader=loader(dataset=val),
        test_dataloader=loader(dataset=val),
        val_loop=object(),
    )


def test_parts_of_the_same_split_share_nothing():
    train, val = digits('train'), digits('val')
    hook = DatasetCheckHook()
    hook.before_train(build_runner(train, val))
    together = np.concatenate([train.indices, val.indices])
    assert len(np.unique(together)) == len(together)


def test_held_out_images_that_are_trained_on_are_refused():
    runner = build_runner(digits('train', factor=10), digits('val', factor=20))
    message = 'expected none of 99 .* got 44, the first is Digits train image'
    with pytest.raises(ValueError, match=message):
        DatasetCheckHook().before_train(runner)


def test_a_test_set_of_the_same_classes_passes():
    DatasetCheckHook().before_train(build_runner(digits('train'), digits()))


def test_classes_without_a_test_image_are_named():
    test = digits(indices=list(range(5)))
    labels = {test.get_data_info(i)['gt_label'] for i in range(5)}
    runner = build_runner(digits('train'), test)
    lines = []
    runner.logger = SimpleNamespace(warning=lines.append)
    DatasetCheckHook().before_train(runner)
    DatasetCheckHook().before_test(runner)
    empty = [str(c) for c in range(10) if c not in labels]
    for line, name in zip(lines, ('validation', 'test'), strict=True):
        start = f'{len(empty)} of 10 classes have no {name} image and count in no '
        first = ', '.join(empty[:3])
        assert line == f'{start}accuracy: {first}, and {len(empty) - 3} more'


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        ('1023456789', '10 in the same order, got 10; the order differs'),
        ('012345678x', '10 in the same order, got 10; in one of them only: 9, x'),
    ],
)
def test_other_classes_are_refused(classes, message):
    other = digits(metainfo=dict(classes=tuple(classes)))
    with pytest.raises(ValueError, match=f'validation set .* training, {message}'):
        DatasetCheckHook().before_train(build_runner(digits('train'), other))
    hook = DatasetCheckHook()
    meta = dict(dataset_meta=dict(classes=tuple('0123456789')))
    hook.after_load_checkpoint(None, dict(meta=meta))
    with pytest.raises(ValueError, match=f'test set .* checkpoint, {message}'):
        hook.before_test(build_runner(None, other))


def test_a_test_label_that_is_no_class_is_refused():
    val = digits()
    val.full_init()
    val.get_data_info = lambda index: dict(gt_label=10)
    with pytest.raises(ValueError, match='10'):
        DatasetCheckHook().before_train(build_runner(digits('train'), val))


def build_model(num_experts=2, num_classes=3):
    return RIDEClassifier(
        num_experts=num_experts,
        backbone=dict(type='RIDEResNetCIFAR', depth=20),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='MultiExpertHead', num_classes=num_classes),
    )


def check(model, checkpoint, **kwargs):
    runner = SimpleNamespace(model=model, _train_loop=None, _resume=False, **kwargs)
    FitCheckHook().after_load_checkpoint(runner, checkpoint)


def test_a_checkpoint_of_the_model_passes_also_from_a_wrapper():
    model = build_model()
    state = model.state_dict()
    check(model, dict(state_dict=state))
    check(model, dict(state_dict={f'module.{k}': v for k, v in state.items()}))
    without_counts = {k: v for k, v in state.items() if 'class_counts' not in k}
    check(model, dict(state_dict=without_counts))


def test_a_checkpoint_with_other_experts_is_refused():
    state = build_model(num_experts=4).state_dict()
    with pytest.raises(CheckpointError, match='experts: expected 2, got 4 .*=4'):
        check(build_model(), dict(state_dict=state))


def test_a_checkpoint_with_other_classes_is_refused():
    state = build_model(num_classes=5).state_dict()
    shapes = r'expected shape \(48, 3\), got shape \(48, 5\)'
    with pytest.raises(CheckpointError, match=shapes):
        check(build_model(), dict(state_dict=state))


def test_missing_and_unknown_tensors_are_named():
    a, b = torch.zeros(2), torch.zeros(2)
    assert misfits(dict(x=a), dict(x=b)) == []
    assert misfits(dict(x=a), dict(y=b)) == [
        'x: expected shape (2,), got no such tensor',
        'y: expected no such tensor, got shape (2,)',
    ]


def build_router(num_experts=2, **backbone):
    return RIDEClassifier(
        num_experts=num_experts,
        backbone=dict(type='RIDEResNetCIFAR', depth=20, **backbone),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='RouterHead', num_classes=3, top_z=3),
    )


def start(model, checkpoint):
    """Load a checkpoint as ``load_from`` of a training does."""
    loop = mock.Mock(spec=BaseLoop)
    log = mock.Mock()
    runner = SimpleNamespace(
        model=model,
        _train_loop=loop,
        _resume=False,
        logger=SimpleNamespace(warning=log),
    )
    FitCheckHook().after_load_checkpoint(runner, checkpoint)
    return [call.args[0] for call in log.call_args_list]


def test_routers_start_from_all_of_stage_one():
    state = build_model().state_dict()
    start(build_router(), dict(state_dict=state))
    start(build_router(), dict(state_dict=build_router().state_dict()))
    del state['backbone.experts.1.layer3.0.conv1.weight']
    with pytest.raises(CheckpointError, match=r'1\.layer3\.0.* got no such tensor'):
        start(build_router(), dict(state_dict=state))


def test_routers_refuse_a_stage_one_of_other_experts_classes_or_width():
    for model, message in (
        (build_model(num_experts=4), 'experts: expected 2, got 4'),
        (build_model(num_classes=5), r'shape \(48, 3\), got shape \(48, 5\)'),
    ):
        with pytest.raises(CheckpointError, match=message):
            start(build_router(), dict(state_dict=model.state_dict()))
    with pytest.raises(CheckpointError, match=r'shape \(32, .* got shape \(24, '):
        start(
            build_router(expert_width=1.0), dict(state_dict=build_model().state_dict())
        )


def test_other_models_start_from_whatever_fits_and_say_so():
    model = build_model()
    assert start(model, dict(state_dict=build_model().state_dict())) == []
    (told,) = start(model, dict(state_dict=build_model(num_classes=5).state_dict()))
    whole = [n for n in model.state_dict() if not n.endswith(OPTIONAL)]
    assert f'{len(whole) - 2} of {len(whole)} tensors are taken' in told
    assert 'head.classifiers.0.weight: expected shape (48, 3)' in told
    (told,) = start(model, dict(state_dict=build_model(num_experts=4).state_dict()))
    assert 'experts: expected 2, got 4' in told


def test_experts_from_a_dense_network_and_resized_positions_count_as_taken():
    sizes = dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64)
    vmoe = MODELS.build(
        dict(
            type='VMoEClassifier',
            backbone=dict(
                type='VMoE', arch=sizes, img_size=16, patch_size=4, pool='gap', moe={}
            ),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=32),
        )
    )
    dense = VisionTransformer(sizes, img_size=8, patch_size=4).state_dict()
    own = [f'backbone.{name}' for name in vmoe.backbone.state_dict()]
    state = {f'backbone.{name}': tensor for name, tensor in dense.items()}
    before = dict(state)
    (told,) = start(vmoe, dict(state_dict=state))
    routers = [name for name in own if '.router.' in name]
    whole = len(vmoe.state_dict())
    assert (
        routers and f'{whole - len(routers) - 2} of {whole} tensors are taken' in told
    )
    assert 'pos_embed' not in told and 'experts' not in told
    assert state == before


def test_routers_need_a_checkpoint():
    runner = SimpleNamespace(model=build_router(), _has_loaded=False, hooks=[])
    with pytest.raises(CheckpointError, match='expected load_from=CHECKPOINT'):
        FitCheckHook().before_train(runner)
    runner._has_loaded = True
    FitCheckHook().before_train(runner)
    FitCheckHook().before_train(
        SimpleNamespace(model=build_model(), _has_loaded=False, hooks=[])
    )


def test_weights_of_which_nothing_fits_are_refused():
    other = {f'backbone.{k}': v for k, v in ResNet(depth=18).state_dict().items()}
    with pytest.raises(CheckpointError, match='none that fit:\n  experts: expected 2'):
        start(build_model(), dict(state_dict=other))
    head = {k: v for k, v in build_model().state_dict().items() if 'head' in k}
    with pytest.raises(CheckpointError, match='none that fit'):
        start(build_model(), dict(state_dict=head))


def test_weights_of_a_plain_network_need_their_prefix():
    plain = ResNet(depth=18).state_dict()
    model = RIDEClassifier(
        num_experts=2,
        backbone=dict(type='RIDEResNet', depth=18),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='MultiExpertHead', num_classes=3),
    )
    before = {k: v.clone() for k, v in plain.items()}
    with pytest.raises(CheckpointError, match=r"lack 'backbone\.': give the file to"):
        start(model, dict(state_dict=plain))
    prefixed = {f'backbone.{k}': v for k, v in plain.items()}
    assert start(model, dict(state_dict=prefixed)) == []
    assert list(prefixed) == [f'backbone.{k}' for k in before]


class InMemory(BaseDataset):
    """Images without a file or a number of their own."""

    METAINFO = {'classes': ('a', 'b')}

    def load_data_list(self):
        return [dict(img=np.zeros((2, 2, 3)), gt_label=i % 2) for i in range(40)]


def test_parts_of_images_without_names_share_nothing():
    train, val = (
        LongTailed(InMemory(pipeline=[]), held_out=dict(fraction=0.2), part=part)
        for part in ('train', 'val')
    )
    hook = DatasetCheckHook()
    hook.before_train(build_runner(train, val))
    with pytest.raises(ValueError, match='expected none of 8 to be trained on, got 8'):
        hook.before_train(build_runner(LongTailed(InMemory(pipeline=[])), val))
