"""Hooks that hand over class counts and start deferred re-weighting."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmpretrain.registry import MODELS
from torch import nn

from ride_mm.engine.checkpoint_io import CheckpointError
from ride_mm.engine.hooks import (
    ClassCountsHook,
    DeferredReweightHook,
    HardLabelCheckHook,
)
from ride_mm.evaluation import ShotAccuracy
from ride_mm.models.losses import CRDLoss


class Labels:
    def __init__(self, labels, classes=('a', 'b', 'c')):
        self.labels, self.CLASSES = labels, classes

    def get_gt_labels(self):
        return np.array(self.labels)


class Wrapper(nn.Module):
    """Like DistributedDataParallel: the model is an attribute."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def build_model(num_classes=3, head='MultiExpertHead', **loss):
    return MODELS.build(
        dict(
            type='RIDEClassifier',
            backbone=dict(type='RIDEResNetCIFAR', depth=20),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(
                type=head,
                num_classes=num_classes,
                loss=dict(type='LDAMLoss', reweight='deferred', **loss),
                diversity=dict(type='DiversityLoss', class_factor=0.05),
            ),
        )
    )


def build_runner(model, labels=(0, 0, 0, 1, 1, 2), metrics=(), **kwargs):
    loop = SimpleNamespace(evaluator=SimpleNamespace(metrics=list(metrics)))
    return SimpleNamespace(
        model=model,
        train_dataloader=SimpleNamespace(dataset=Labels(labels)),
        val_loop=loop,
        test_loop=loop,
        logger=MMLogger.get_current_instance(),
        max_epochs=200,
        epoch=0,
        **kwargs,
    )


@pytest.mark.parametrize('wrap', [lambda m: m, Wrapper])
def test_every_module_that_wants_them_gets_the_counts(wrap):
    model = build_model()
    ClassCountsHook().before_train(build_runner(wrap(model)))
    for module in (model.head, model.head.loss_module, model.head.diversity_loss):
        assert module.class_counts.tolist() == [3, 2, 1]


def test_counts_reach_the_metrics_from_the_checkpoint_alone():
    trained = build_model()
    ClassCountsHook().before_train(build_runner(trained))
    loaded = build_model()
    loaded.load_state_dict(trained.state_dict())
    metric = ShotAccuracy()
    ClassCountsHook().before_test(build_runner(loaded, metrics=[metric]))
    assert metric.class_counts == [3, 2, 1]
    assert all(type(count) is int for count in metric.class_counts)


def test_a_stock_model_s_metrics_get_the_counts_of_the_training():
    metric = ShotAccuracy()
    hook, runner = ClassCountsHook(), build_runner(nn.Linear(2, 3), metrics=[metric])
    hook.before_train(runner)
    hook.before_val(runner)
    assert metric.class_counts == [3, 2, 1]


def test_a_metric_without_counts_is_refused_before_the_test():
    runner = build_runner(build_model(), metrics=[ShotAccuracy()])
    with pytest.raises(CheckpointError, match='ShotAccuracy needs the class counts'):
        ClassCountsHook().before_test(runner)


@pytest.mark.parametrize(
    ('labels', 'num_classes', 'message'),
    [
        ([0, 0, 2], 3, r"each of the 3 classes, got none of 1: 'b' \(1\)$"),
        ([0, 1, 3], 3, r'image 2: expected a label in \[0, 2\], got 3'),
        ([0, -1, 2], 3, r'image 1: expected a label in \[0, 2\], got -1'),
        ([0, 1, 2], 4, 'num_classes=4 classes, got 3 class counts'),
    ],
)
def test_training_sets_that_do_not_fit_are_refused(labels, num_classes, message):
    runner = build_runner(build_model(num_classes), labels)
    with pytest.raises(ValueError, match=message):
        ClassCountsHook().before_train(runner)


@pytest.mark.parametrize(
    ('epoch', 'active'), [(0, False), (159, False), (160, True), (199, True)]
)
def test_reweighting_follows_from_the_epoch_alone(epoch, active):
    model = build_model()
    runner = build_runner(model)
    runner.epoch = epoch
    hook = DeferredReweightHook(reweight_epoch=160)
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    assert model.head.loss_module.reweighting == active
    assert model.head.diversity_loss.class_wise == active


@pytest.mark.parametrize(
    ('reweight_epoch', 'message'),
    [
        (200, 'less than max_epochs=200, got 200'),
        (None, 'LDAMLoss, DiversityLoss waits .* got None'),
    ],
)
def test_a_schedule_without_effect_is_refused(reweight_epoch, message):
    with pytest.raises(ValueError, match=message):
        DeferredReweightHook(reweight_epoch).before_train(build_runner(build_model()))


def test_losses_that_a_router_head_keeps_do_not_wait():
    model = build_model(head='RouterHead')
    runner = build_runner(model)
    runner.epoch = 170
    DeferredReweightHook().before_train(runner)
    hook = DeferredReweightHook(reweight_epoch=160)
    hook.before_train_epoch(runner)
    assert not model.head.loss_module.reweighting


def test_a_negative_epoch_is_refused():
    with pytest.raises(ValueError, match='got -1'):
        DeferredReweightHook(-1)


@pytest.mark.parametrize(
    'preprocessor',
    [
        dict(batch_augments=dict(augments=[dict(type='Mixup', alpha=0.2)])),
        dict(to_onehot=True, num_classes=3),
    ],
)
def test_soft_labels_are_refused_before_training(preprocessor):
    routed, plain = build_model(head='RouterHead'), build_model()
    HardLabelCheckHook().before_train(build_runner(routed))
    routed.data_preprocessor = plain.data_preprocessor = MODELS.build(
        dict(type='ClsDataPreprocessor', **preprocessor)
    )
    with pytest.raises(ValueError, match='RouterHead: expected hard labels'):
        HardLabelCheckHook().before_train(build_runner(routed))
    HardLabelCheckHook().before_train(build_runner(plain))
    plain.head.cal_acc = True
    with pytest.raises(ValueError, match='MultiExpertHead: expected cal_acc=False'):
        HardLabelCheckHook().before_train(build_runner(plain))


def test_mixed_images_are_refused_where_each_has_a_row_in_a_bank():
    model = build_model()
    model.distill = nn.ModuleDict(
        dict(crd=CRDLoss(student_channels=8, teacher_channels=8))
    )
    runner = build_runner(model)
    model.data_preprocessor = MODELS.build(
        dict(type='ClsDataPreprocessor', to_onehot=True, num_classes=3)
    )
    HardLabelCheckHook().before_train(runner)
    model.data_preprocessor = MODELS.build(
        dict(
            type='ClsDataPreprocessor',
            batch_augments=dict(augments=dict(type='CutMix', alpha=1.0)),
        )
    )
    with pytest.raises(ValueError, match='CRDLoss: expected images that are not mixed'):
        HardLabelCheckHook().before_train(runner)


def test_counts_of_the_config_stay():
    model = build_model(class_counts=[9, 8, 7])
    loss = model.head.loss_module
    ClassCountsHook().before_train(build_runner(model))
    assert loss.class_counts.tolist() == [9, 8, 7]
    assert model.head.class_counts.tolist() == [3, 2, 1]
    other = build_model()
    ClassCountsHook().before_train(build_runner(other))
    model.load_state_dict(other.state_dict())
    assert loss.class_counts.tolist() == [9, 8, 7]
    assert model.head.class_counts.tolist() == [3, 2, 1]


def test_counts_of_the_head_are_those_of_its_losses():
    head = MODELS.build(
        dict(
            type='MultiExpertHead',
            num_classes=3,
            in_channels=4,
            class_counts=[9, 8, 7],
            loss=dict(type='LDAMLoss'),
        )
    )
    assert head.loss_module.class_counts.tolist() == [9, 8, 7]


def test_a_wrapper_that_hides_the_labels_is_refused():
    runner = build_runner(build_model())
    runner.train_dataloader.dataset = SimpleNamespace(dataset=Labels([0, 1, 2]))
    with pytest.raises(ValueError, match='expected LongTailed or .* SimpleNamespace'):
        ClassCountsHook().before_train(runner)
