"""Distillation on the command line: teacher, student, resume, errors."""

import hashlib
import re
from pathlib import Path

import pytest
import torch
from digits_runs import ONE
from engine_helpers import error_of, forget_runs, run_tool
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import MODELS

from ride_mm.cli import test_main as main_of_test
from ride_mm.cli import train_main
from ride_mm.engine.checkpoint_io import load_checkpoint_file, write_atomically
from ride_mm.engine.hooks.kd import build_teacher, fingerprint, read_config
from ride_mm.utils import find_config

EPOCHS = 2
OF_EXPERTS = re.compile(r'experts|classifiers|class_counts')


@pytest.fixture(autouse=True)
def quick_and_separate_runs(monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')
    forget_runs()


def taught_by(teacher: Path, *options: str) -> list[str]:
    return [
        'model.distill.kd.type=KDLoss',
        'model.num_experts=2',
        'default_hooks.teacher.type=KDHook',
        f'default_hooks.teacher.config={ONE}',
        f'default_hooks.teacher.checkpoint={teacher}',
        *options,
    ]


def train_student(
    folder: Path, *options: str, resume: Path | None = None, config: Path | str = ONE
) -> Path:
    """Train for two epochs and name the checkpoint."""
    forget_runs()
    start = ['--resume', str(resume)] if resume else []
    arguments = ['--work-dir', str(folder), '--epochs', str(EPOCHS), *start]
    train_main([str(config), *arguments, '--no-validate', '--cfg-options', *options])
    return folder / f'epoch_{EPOCHS}.pth'


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint_file(checkpoint)['state_dict']


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope='module')
def straight(stage_one, tmp_path_factory) -> Path:
    """A student with all distillation losses, trained without interruption."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, 'pretty_text', '')
        return train_student(
            tmp_path_factory.mktemp('student'), *taught_by(stage_one, *ALL_LOSSES)
        )


ALL_LOSSES = [
    'model.distill.pkt.type=PKTLoss',
    'model.distill.sp.type=SPLoss',
    'model.distill.crd.type=CRDLoss',
    'model.distill.crd.teacher_channels=144',
    'optim_wrapper.optimizer.lr=0.001',
]


def test_the_student_s_checkpoint_is_free_of_the_teacher(stage_one, tmp_path):
    before = digest(stage_one)
    student = train_student(tmp_path, *taught_by(stage_one))
    assert digest(stage_one) == before
    names = set(weights(student))
    assert {n for n in names if 'experts.2' not in n} == names
    expected = {
        name
        for name in weights(stage_one)
        if 'experts.2.' not in name and 'classifiers.2.' not in name
    }
    assert names == expected
    checkpoint = load_checkpoint_file(student)
    slots = checkpoint['optimizer']['param_groups']
    total = sum(len(group['params']) for group in slots)
    learning = [n for n in names if n.endswith(('weight', 'bias'))]
    assert total == len(learning)
    taught = checkpoint['message_hub']['runtime_info']['teacher']
    model = build_teacher(read_config(ONE), load_checkpoint_file(stage_one))
    assert taught == fingerprint(model.state_dict())
    logged = next(tmp_path.glob('*/*.log')).read_text()
    assert 'Teacher: RIDEClassifier' in logged and 'loss_kd' in logged
    # It is tested as any other, without its teacher.
    options = 'model.num_experts=2'
    forget_runs()
    main_of_test(
        [ONE, str(student), '--work-dir', str(tmp_path), '--cfg-options', options]
    )


def test_weights_of_the_teacher_stay_as_they_are_while_it_teaches(
    stage_one, tmp_path, monkeypatch
):
    seen = []
    run = Runner.train

    def train(runner):
        result = run(runner)
        seen.append(runner.model.teacher.classifier.state_dict())
        return result

    monkeypatch.setattr(Runner, 'train', train)
    train_student(
        tmp_path, *taught_by(stage_one, 'default_hooks.teacher.eval_mode=False')
    )
    stored = weights(stage_one)
    assert len(seen) == 1 and len(stored) > 200
    for name, tensor in seen[0].items():
        assert torch.equal(tensor, stored[name]), name


class KilledError(Exception):
    pass


def test_a_killed_and_resumed_run_equals_the_straight_one(
    stage_one, straight, tmp_path, monkeypatch
):
    options = taught_by(stage_one, *ALL_LOSSES)
    run_iter = EpochBasedTrainLoop.run_iter

    def die_in_the_second_epoch(loop, index, batch):
        if loop.epoch == 1 and index == 5:
            raise KilledError
        run_iter(loop, index, batch)

    with monkeypatch.context() as patch:
        patch.setattr(EpochBasedTrainLoop, 'run_iter', die_in_the_second_epoch)
        with pytest.raises(KilledError):
            train_student(tmp_path, *options)
    assert not (tmp_path / f'epoch_{EPOCHS}.pth').exists()
    resumed = train_student(tmp_path, *options, resume=tmp_path / 'epoch_1.pth')
    got, expected = load_checkpoint_file(resumed), load_checkpoint_file(straight)
    assert got['state_dict'].keys() == expected['state_dict'].keys()
    assert 'distill.crd.bank' in got['state_dict']
    for name, tensor in expected['state_dict'].items():
        assert torch.equal(got['state_dict'][name], tensor), name
    for key, state in expected['optimizer']['state'].items():
        momentum = got['optimizer']['state'][key]['momentum_buffer']
        assert torch.equal(momentum, state['momentum_buffer'])


def test_all_losses_are_logged(straight):
    logged = next(straight.parent.glob('*/*.log')).read_text()
    for name in ('cls', 'div', 'kd', 'pkt', 'sp', 'crd'):
        assert f'loss_{name}: ' in logged
    assert weights(straight)['distill.crd.bank'].shape == (2, 399, 128)


def test_what_only_the_training_needs_does_not_matter_afterwards(straight, tmp_path):
    forget_runs()
    options = 'model.num_experts=2'
    main_of_test(
        [ONE, str(straight), '--work-dir', str(tmp_path), '--cfg-options', options]
    )


def test_two_processes(stage_one, tmp_path):
    done = run_tool(
        'dist_train.sh', ONE, 2, '--work-dir', tmp_path, '--epochs', 1,
        '--no-validate', '--cfg-options', *taught_by(stage_one, *ALL_LOSSES),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'loss_crd' in done.stdout + done.stderr
    assert (tmp_path / 'epoch_1.pth').exists()


def test_a_resumed_run_insists_on_its_teacher(stage_one, straight, tmp_path):
    checkpoint = load_checkpoint_file(stage_one)
    checkpoint['state_dict']['backbone.conv1.weight'].mul_(2)
    other = tmp_path / 'other.pth'
    write_atomically(checkpoint, other)
    message = error_of(
        train_main, ONE, '--work-dir', tmp_path / 'run', '--epochs', EPOCHS,
        '--no-validate', '--resume', straight.with_name('epoch_1.pth'),
        '--cfg-options', *taught_by(other, *ALL_LOSSES),
    )  # fmt: skip
    assert 'expected the teacher that the run began with' in message


def test_a_moving_average_does_not_hold_the_teacher(stage_one, tmp_path):
    config = tmp_path / 'average.py'
    config.write_text(
        f"_base_ = '{find_config(ONE)}'\n"
        "custom_hooks = [dict(type='EMAHook', momentum=0.1)]\n"
    )
    student = train_student(tmp_path, *taught_by(stage_one), config=config)
    averaged = load_checkpoint_file(student)['ema_state_dict']
    assert not any('teacher' in name or 'experts.2.' in name for name in averaged)
    assert len(averaged) == len(weights(student)) + 1  # its number of steps


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['default_hooks.teacher.checkpoint=none.pth'], 'checkpoint, got none.pth'),
        (['default_hooks.teacher.config=ride_r32_cifar100lt'], 'got no such tensor'),
        (['default_hooks.teacher.config=ride_r9'], "got 'ride_r9'"),
        (['model.distill.kd=None'], 'expected a student with model.distill'),
        (['default_hooks.teacher.checkpoint=None'], 'KDHook.checkpoint: expected'),
        (
            ['default_hooks.teacher=None'],
            'model.distill: expected default_hooks.teacher',
        ),
        (
            [*ALL_LOSSES, 'model.distill.crd.teacher_channels=96'],
            'crd.teacher_channels: expected 144, the channels of all of the teacher',
        ),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(stage_one, tmp_path, options, message):
    arguments = [ONE, '--work-dir', tmp_path, '--cfg-options']
    assert message in error_of(train_main, *arguments, *taught_by(stage_one, *options))
    assert not list(tmp_path.glob('*.pth'))


def test_a_teacher_of_other_classes_is_refused(stage_one, tmp_path):
    nine = tmp_path / 'nine.py'
    nine.write_text(
        f"_base_ = '{find_config(ONE)}'\nmodel = dict(head=dict(num_classes=9))\n"
    )
    config = read_config(nine)
    checkpoint = tmp_path / 'nine.pth'
    torch.save(dict(state_dict=MODELS.build(config.model).state_dict()), checkpoint)
    teacher = [f'default_hooks.teacher.config={nine}']
    teacher += [f'default_hooks.teacher.checkpoint={checkpoint}']
    arguments = [ONE, '--work-dir', tmp_path, '--cfg-options']
    message = error_of(train_main, *arguments, *taught_by(stage_one, *teacher))
    assert "expected a teacher of the student's 10 classes, got one of 9" in message


def test_a_teacher_with_classes_in_another_order_is_refused(stage_one, tmp_path):
    checkpoint = load_checkpoint_file(stage_one)
    checkpoint['meta']['dataset_meta']['classes'] = tuple('0123456798')
    other = tmp_path / 'other.pth'
    write_atomically(checkpoint, other)
    arguments = [ONE, '--work-dir', tmp_path, '--cfg-options']
    message = error_of(train_main, *arguments, *taught_by(other))
    assert "another class 8: expected '8', got '9'" in message


def test_a_stock_classifier_teaches(stage_one, tmp_path):
    stock = tmp_path / 'stock.py'
    stock.write_text(STOCK)
    config = read_config(stock)
    checkpoint = tmp_path / 'stock.pth'
    torch.save(MODELS.build(config.model).state_dict(), checkpoint)
    teacher = [f'default_hooks.teacher.config={stock}']
    teacher += [f'default_hooks.teacher.checkpoint={checkpoint}']
    student = train_student(tmp_path, *taught_by(stage_one, *teacher))
    logged = next(tmp_path.glob('*/*.log')).read_text()
    assert 'Teacher: ImageClassifier' in logged
    # It was not given the student's normalisation.
    for name in ('to_rgb=True', 'mean=[78.9', 'std=[81.7'):
        assert f"The teacher sees the student's images, which have {name}" in logged
    assert 'its own config has None' in logged
    assert student.exists()


STOCK = """
custom_imports = dict(imports=['ride_mm'], allow_failed_imports=False)
data_preprocessor = dict(num_classes=10, to_rgb=False)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
)
"""


def test_a_start_from_another_network_is_told_in_the_log(stage_one, tmp_path):
    """Whatever does not fit starts anew, and the log says how much that is."""
    train_student(
        tmp_path, f'load_from={stage_one}', 'model.head.num_classes=10',
        'model.backbone.expert_width=1.0',
    )  # fmt: skip
    logged = next(tmp_path.glob('*/*.log')).read_text()
    taken = re.search(r'load_from: (\d+) of (\d+) tensors are taken', logged)
    trunk = [n for n in weights(stage_one) if not OF_EXPERTS.search(n)]
    assert int(taken[1]) >= len([n for n in trunk if 'num_batches' not in n]) - 3
    assert int(taken[1]) < int(taken[2]) / 2
    assert 'expected shape (32, 16, 3, 3), got shape (24, 16, 3, 3)' in logged


def test_weights_that_are_not_finite_are_refused(stage_one, tmp_path):
    checkpoint = load_checkpoint_file(stage_one)
    checkpoint['state_dict']['backbone.conv1.weight'][0, 0] = float('nan')
    broken = tmp_path / 'broken.pth'
    write_atomically(checkpoint, broken)
    message = 'backbone.conv1.weight: expected finite numbers, got nan'
    arguments = ['--work-dir', tmp_path, '--cfg-options']
    assert message in error_of(train_main, ONE, *arguments, *taught_by(broken))
    assert message in error_of(train_main, ONE, *arguments, f'load_from={broken}')
    assert message in error_of(main_of_test, ONE, broken, '--work-dir', tmp_path)
