"""What new_dataset.py proposes, by images and machine."""

import math
import re
from argparse import Namespace
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from ride_mm.cli.new_dataset.config_text import experts_config, router_config
from ride_mm.cli.new_dataset.folders import part_folders
from ride_mm.cli.new_dataset.looks import Looks
from ride_mm.cli.new_dataset.machine import Machine, this_machine
from ride_mm.cli.new_dataset.names import Names, commands_of_experts, plain_name
from ride_mm.cli.new_dataset.network import (
    choose_batch_size,
    choose_depth,
    choose_image_size,
    training_bytes,
)
from ride_mm.cli.new_dataset.proposal import (
    choose_epochs,
    choose_thresholds,
    model_of,
    propose,
    router_epochs,
)
from ride_mm.cli.new_dataset.source import Source, fault_of_name
from ride_mm.cli.new_dataset.split import kept_for_test
from ride_mm.utils.shots import shot_groups

CPU = Machine(cores=4, memory=16 * 2**30)
GPU = Machine(8, 64 * 2**30, 'a GPU', 80 * 2**30)
OLD_GPU = Machine(8, 64 * 2**30, 'an old GPU', 4 * 2**30)
NOTHING = Namespace(image_size=None, experts=None, epochs=None, batch_size=None)


def test_each_class_keeps_most_of_its_images_for_training():
    counts = [100, 40, 9, 3, 2, 1]
    assert kept_for_test(counts, per_class=10).tolist() == [10, 10, 4, 1, 1, 0]
    assert kept_for_test(counts, fraction=0.2).tolist() == [20, 8, 2, 1, 1, 0]
    # A fifth of 155 images, over 6 classes.
    assert kept_for_test(counts).tolist() == [5, 5, 3, 1, 1, 0]
    assert kept_for_test([1, 1]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ('short_side', 'cpu', 'gpu'),
    [(8, 32, 32), (32, 32, 32), (50, 32, 32), (52, 64, 64), (110, 128, 128)]
    + [(200, 128, 224), (3000, 128, 224)],
)
def test_images_are_not_enlarged_much(short_side, cpu, gpu):
    assert choose_image_size(short_side, CPU).value == cpu
    assert choose_image_size(short_side, GPU).value == gpu


@pytest.mark.parametrize(
    ('size', 'images', 'machine', 'depth'),
    [
        (32, 9000, CPU, 20),
        (32, 900, GPU, 20),
        (64, 9000, GPU, 32),
        (128, 9000, CPU, 10),
        (224, 900, GPU, 18),
        (224, 9000, OLD_GPU, 18),
        (224, 9000, GPU, 50),
    ],
)
def test_the_network_follows_from_images_and_machine(size, images, machine, depth):
    assert choose_depth(size, images, machine).value == depth


@pytest.mark.parametrize(
    ('images', 'per_image', 'machine', 'size'),
    [
        (50, 10**6, CPU, 16),
        (400, 10**6, CPU, 32),
        (10**5, 10**6, CPU, 128),
        (10**5, 10**6, GPU, 256),
        (10**5, 2 * 10**8, OLD_GPU, 8),
        (10**5, 10**8, OLD_GPU, 16),
        (10**5, 10**12, OLD_GPU, 2),
    ],
)
def test_a_batch_fits_into_the_memory(images, per_image, machine, size):
    got = choose_batch_size(images, per_image, machine).value
    assert got == size
    memory = machine.gpu_memory or machine.memory
    assert got == 2 or got * per_image <= 0.6 * memory


def test_training_takes_memory_by_pixels_and_experts():
    def taken(experts, size, depth=20):
        return training_bytes(model_of(True, depth, experts, 5), size)

    one, three = taken(1, 32), taken(3, 32)
    assert one < three < 3 * one
    assert taken(1, 64) == pytest.approx(4 * one, rel=0.01)


@pytest.mark.parametrize(('small', 'depth', 'size'), [(True, 20, 32), (False, 10, 64)])
def test_the_memory_covers_what_autograd_keeps(small, depth, size):
    config = model_of(small, depth, 2, 5)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(config).train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.randn(4, 3, size, size), mode='tensor')
    needed = sum(size for _, size in kept.values()) / 4
    assert needed <= training_bytes(config, size) < 2 * needed


@pytest.mark.parametrize(
    ('images', 'batch', 'cpu', 'gpu'),
    [(100, 16, 60, 200), (10847, 128, 35, 200), (115846, 256, 10, 88)]
    + [(10**6, 256, 10, 30)],
)
def test_epochs_give_a_sensible_number_of_steps(images, batch, cpu, gpu):
    assert choose_epochs(images, batch, CPU).value == cpu
    assert choose_epochs(images, batch, GPU).value == gpu
    assert 5 <= router_epochs(images, batch) <= 20


def test_the_field_s_thresholds_stay_where_they_tell_classes_apart():
    assert choose_thresholds([500, 50, 5])[:2] == (100, 20)
    assert choose_thresholds([500, 5])[:2] == (100, 20)
    assert choose_thresholds([7, 7, 7])[:2] == (100, 20)


@pytest.mark.parametrize(
    'counts',
    [[2000, 1500, 1200, 900, 800, 300], [9, 8, 7, 3, 2, 1], [90, 30], [19, 18, 1]]
    + [[5, 5, 5, 5, 1], [5, 1, 1, 1, 1], [60, 50, 50, 40]],
)
def test_other_thresholds_split_classes_of_one_group(counts):
    many, few, why = choose_thresholds(counts)
    groups = shot_groups(counts, many, few)
    assert sum(len(group) > 0 for group in groups.values()) >= 2
    assert np.argmax(counts) in groups['many']
    assert np.argmin(counts) in groups['few']
    assert 'all classes would be' in why


def source_of(counts):
    images = [(f'{c}/{i}.png', c) for c, n in enumerate(counts) for i in range(n)]
    names = tuple(f'class {c}' for c in range(len(counts)))
    return Source('/data', 'folders', names, {'train': images, 'test': images[:1]})


def test_a_proposal_is_made_of_these():
    looks = Looks((300, 200), (900, 800), 400.0, Counter(), {})
    source = source_of([4000, 2000, 30])
    got = propose(source, looks, GPU, NOTHING)
    assert (got.image_size, got.depth, got.experts) == (224, 50, 3)
    assert (got.images, got.num_classes, got.workers) == (6030, 3, 8)
    assert got.batch_size == 128
    assert got.steps == got.epochs * math.ceil(6030 / 128)
    got = propose(source, looks, CPU, NOTHING)
    assert (got.image_size, got.depth, got.workers) == (128, 10, 2)
    asked = Namespace(image_size=48, experts=2, epochs=7, batch_size=5)
    got = propose(source, looks, CPU, asked)
    assert (got.image_size, got.experts, got.epochs, got.batch_size) == (48, 2, 7, 5)
    assert got.small
    assert got.reasons['epochs'] == 'as you say'


def test_this_machine_has_cores_and_memory():
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory > 2**28
    assert (machine.gpu is None) == (machine.gpu_memory == 0)


@pytest.mark.parametrize(
    ('text', 'name'),
    [('Birds 2024', 'birds_2024'), ('my photos é', 'my_photos_e'), ('鳥', 'custom')],
)
def test_a_name_is_made_plain(text, name):
    assert plain_name(text) == name


@pytest.mark.parametrize(
    ('path', 'fault'),
    [('a/\udce4.png', 'UTF-8'), ('a/b\nc.png', 'line break'), ('a/..\\b.png', 'list')],
)
def test_names_that_a_list_cannot_hold_are_told(path, fault):
    assert fault in fault_of_name(path)
    assert fault_of_name('a/my "b", 3.png') is None


def test_parts_need_one_for_training(tmp_path):
    for name in ('train', 'Validation', 'notes'):
        (tmp_path / name).mkdir()
    assert part_folders(str(tmp_path)) == {
        'train': str(tmp_path / 'train'),
        'val': str(tmp_path / 'Validation'),
    }
    (tmp_path / 'train').rmdir()
    assert part_folders(str(tmp_path)) == {}


class TestTexts:
    """What the configs say, for images and machines that no test has."""

    def texts(self, machine, counts, asked=NOTHING, short_side=400.0):
        looks = Looks((30, 20), (900, 800), short_side, Counter(), {})
        source = source_of(counts)
        proposal = propose(source, looks, machine, asked)
        names = Names('birds', 'my configs')
        one = experts_config(names, source, proposal, machine)
        return proposal, one, router_config(names, proposal)

    def settings(self, text):
        found = {}
        text = re.sub(r'{{ *[\w.]+ *}}', 'None', text)  # What MMEngine fills in.
        exec(compile(text, 'config', 'exec'), found)
        return found

    @pytest.mark.parametrize('machine', [CPU, GPU])
    @pytest.mark.parametrize('short_side', [30.0, 400.0])
    def test_schedules_of_any_length_stay_inside(self, machine, short_side):
        for epochs in (1, 2, 3, 10, 60, 200):
            asked = Namespace(**{**vars(NOTHING), 'epochs': epochs})
            _, text, _ = self.texts(machine, [90, 9], asked, short_side)
            config = self.settings(text)
            *warm_up, steps = config['param_scheduler']
            assert 0 <= config['default_hooks']['reweight']['reweight_epoch'] < epochs
            assert max(steps['milestones']) <= max(1, epochs - 1)
            assert steps['milestones'] == sorted(set(steps['milestones']))
            for one in warm_up:
                assert one['end'] < steps['milestones'][0]
                assert one['start_factor'] * one['end'] == pytest.approx(1)
            assert config['train_cfg']['max_epochs'] == epochs

    def test_a_rate_belongs_to_a_batch_size(self):
        for size, rate in ((256, 0.1), (64, 0.025), (1024, 0.1)):
            asked = Namespace(**{**vars(NOTHING), 'batch_size': size})
            text = self.texts(GPU, [9000, 90], asked)[1]
            optimizer = self.settings(text)['optim_wrapper']['optimizer']
            assert optimizer['lr'] == pytest.approx(rate)

    def test_pretrained_weights_are_offered_where_there_are_some(self):
        assert 'load_from = None' in self.texts(GPU, [9000, 90])[1]
        assert 'load_from' not in self.texts(CPU, [9000, 90])[1]
        assert 'load_from' not in self.texts(GPU, [9000, 90], short_side=30.0)[1]

    def test_routers_start_from_the_last_epoch_with_logits_enough(self):
        proposal, _, text = self.texts(GPU, [9000] + [90] * 60)
        config = self.settings(text)
        assert (
            config['load_from'] == f'work_dirs/ride_birds/epoch_{proposal.epochs}.pth'
        )
        assert config['model']['head']['top_z'] == 50
        assert self.settings(self.texts(CPU, [90, 9])[2])['model']['head']['top_z'] == 2

    def test_commands_quote_what_a_shell_would_split(self):
        proposal, text, _ = self.texts(CPU, [90, 9])
        assert "'my configs/ride_birds.py'" in text
        for name in ('train.py', 'test.py', 'infer.py'):
            assert any(
                name in line
                for line in commands_of_experts(Names('birds', 'my configs'), proposal)
            )
