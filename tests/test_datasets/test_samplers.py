import math

import numpy as np
import pytest
import torch
from engine_helpers import checkpoint_digest, run_tiny
from mmengine.config import Config
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, DataLoader

from ride_mm.datasets import LongTailed, LongTailedSampler
from ride_mm.datasets.samplers import class_probabilities, epoch_indices, resampling
from ride_mm.datasets.samplers import long_tailed_sampler as sampler_module
from ride_mm.engine.hooks.position_seed import EPOCH_START, ITERATION
from ride_mm.models.losses import effective_number_weights

COUNTS = [40, 17, 9, 3, 2, 1]
STRATEGIES = resampling.STRATEGIES


class Labels:
    """A data set that consists of labels, not sorted by class."""

    def __init__(self, counts=COUNTS, labels=None):
        if labels is None:
            labels = np.repeat(np.arange(len(counts)), counts)
            labels = np.random.default_rng(0).permutation(labels)
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return index

    def get_gt_labels(self):
        return self.labels


def sampler(counts=COUNTS, seed=0, **kwargs):
    return LongTailedSampler(Labels(counts), seed=seed, **kwargs)


def epoch_of(one, epoch):
    one.set_epoch(epoch)
    return list(one)


def of_rank(monkeypatch, rank, world, **kwargs):
    monkeypatch.setattr(sampler_module, 'get_dist_info', lambda: (rank, world))
    return sampler(**kwargs)


# How likely a class is


def test_powers_of_the_counts():
    counts = [100, 25, 4, 1]
    balanced = class_probabilities(counts, 'class_balanced')
    assert balanced.tolist() == [0.25] * 4
    np.testing.assert_allclose(
        class_probabilities(counts, 'square_root'), np.array([10, 5, 2, 1]) / 18
    )
    np.testing.assert_allclose(
        class_probabilities(counts, 'instance_balanced'), np.array(counts) / 130
    )


def test_effective_number():
    # E of 1, 2, 3 images: 1, 1.5, 1.75.
    expected = np.array([1, 2 / 1.5, 3 / 1.75])
    np.testing.assert_allclose(
        class_probabilities([1, 2, 3], 'effective_number', beta=0.5),
        expected / expected.sum(),
    )


def test_effective_number_gives_images_the_weights_of_the_loss():
    counts = np.array([1, 5, 90, 500])
    weighted = counts * effective_number_weights(torch.tensor(counts), 0.999).numpy()
    np.testing.assert_allclose(
        class_probabilities(counts, 'effective_number', 0.999),
        weighted / weighted.sum(),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ('beta', 'limit'),
    [(0, 'instance_balanced'), (1 - 1e-14, 'class_balanced')],
)
def test_limits_of_the_effective_number(beta, limit):
    np.testing.assert_allclose(
        class_probabilities(COUNTS, 'effective_number', beta),
        class_probabilities(COUNTS, limit),
        rtol=1e-9,
    )


@pytest.mark.parametrize('strategy', STRATEGIES)
@pytest.mark.parametrize('beta', [0, 0.9999])
def test_empty_classes_have_probability_zero(strategy, beta):
    with np.errstate(all='raise'):
        with_empty = class_probabilities([0, 7, 0, 2, 0], strategy, beta)
        without = class_probabilities([7, 2], strategy, beta)
    assert with_empty[[0, 2, 4]].tolist() == [0, 0, 0]
    assert with_empty[[1, 3]].tolist() == without.tolist()
    assert without.sum() == pytest.approx(1)


# Which images an epoch consists of


@pytest.mark.parametrize('strategy', STRATEGIES)
@pytest.mark.parametrize('num_samples', [None, 5, 301])
def test_images_of_a_class_are_cycled_within_and_across_epochs(strategy, num_samples):
    dataset = Labels()
    one = LongTailedSampler(dataset, strategy, seed=3, num_samples=num_samples)
    labels, used = dataset.labels, np.zeros(len(dataset), dtype=int)
    for epoch in range(12):
        for index in epoch_of(one, epoch):
            used[index] += 1
            same = used[labels == labels[index]]
            assert same.max() - same.min() <= 1
    assert used.sum() == 12 * (num_samples or len(dataset))


def test_cycles_are_shuffled_anew_each_time():
    """All 6 orders of three images are equally likely, of each class independently."""
    indices = np.array(epoch_of(sampler([3, 3], num_samples=6000), 0))
    labels = Labels([3, 3]).labels
    orders = []
    for c in (0, 1):
        rank = np.cumsum(labels == c) - 1
        drawn = rank[indices[labels[indices] == c]]
        cycles = drawn[: len(drawn) // 3 * 3].reshape(-1, 3)
        orders.append(cycles[:900])
        _, numbers = np.unique(cycles, axis=0, return_counts=True)
        assert len(numbers) == 6
        expected = len(cycles) / 6
        assert ((numbers - expected) ** 2 / expected).sum() < 5 + 4 * math.sqrt(10)
    assert (orders[0] == orders[1]).all(axis=1).mean() == pytest.approx(1 / 6, abs=0.05)


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_classes_are_drawn_independently_by_their_probabilities(strategy):
    """Neither farther from the expectation than chance takes them, nor closer."""
    one = sampler(strategy=strategy, num_samples=2000)
    p, labels, epochs = one.probabilities, one.dataset.labels, 40
    drawn = np.array([labels[epoch_of(one, epoch)] for epoch in range(epochs)])
    numbers = np.array([np.bincount(row, minlength=len(p)) for row in drawn])
    chi_square = ((numbers - 2000 * p) ** 2 / (2000 * p)).sum()
    freedom = epochs * (len(p) - 1)
    assert abs(chi_square - freedom) < 4 * math.sqrt(2 * freedom)
    # One draw says nothing of the next.
    pairs = drawn[:, 1:] == drawn[:, :-1]
    repeated = (p**2).sum()
    sd = math.sqrt(repeated / pairs.size)
    assert abs(pairs.mean() - repeated) < 4 * sd


def test_class_without_an_image_is_never_drawn():
    one = sampler([0, 5, 0, 4])
    assert one.probabilities.tolist() == [0, 0.5, 0, 0.5]
    assert {one.dataset.labels[i] for i in epoch_of(one, 0)} == {1, 3}
    images = [np.arange(3), np.arange(0)]
    indices = epoch_indices(images, np.array([1.0, 0.0]), 7, seed=0, epoch=1)
    assert set(indices.tolist()) == {0, 1, 2}
    assert indices.shape == (7,)


def test_one_image():
    assert epoch_of(sampler([1], num_samples=3), 2) == [0, 0, 0]


# A function of (seed, epoch)


def test_epoch_does_not_depend_on_what_was_drawn_before():
    straight = sampler()
    epochs = [epoch_of(straight, epoch) for epoch in range(6)]
    assert epoch_of(sampler(), 5) == epochs[5]
    hopping = sampler(seed=9)
    epoch_of(hopping, 4)
    hopping.seed = 0  # as a resumed run does
    assert [epoch_of(hopping, epoch) for epoch in (3, 0, 5, 3)] == [
        epochs[epoch] for epoch in (3, 0, 5, 3)
    ]
    assert list(hopping) == epochs[3]


def test_epochs_seeds_and_strategies_differ():
    one = sampler()
    lists = [epoch_of(one, epoch) for epoch in range(4)]
    lists += [epoch_of(sampler(seed=seed), 0) for seed in range(1, 4)]
    lists += [epoch_of(sampler(strategy=s), 0) for s in STRATEGIES[1:]]
    assert len({tuple(indices) for indices in lists}) == 10


def test_global_generators_are_left_alone():
    np.random.seed(5)
    torch.manual_seed(5)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    first = epoch_of(sampler(), 1)
    after = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert after == before
    np.random.seed(6)
    torch.manual_seed(6)
    assert epoch_of(sampler(), 1) == first


def test_streams_are_apart_from_those_of_hook_and_augmentation(monkeypatch):
    positions = []

    def position_seed(*position):
        positions.append(position)
        return len(positions)

    monkeypatch.setattr(resampling, 'position_seed', position_seed)
    epoch_of(sampler(num_samples=1000), 3)
    assert {len(position) for position in positions} == {5}
    tags = {position[-1] for position in positions}
    assert len(tags) == 2
    assert tags.isdisjoint({0, EPOCH_START, ITERATION})
    assert len(set(positions)) == 4 + len(COUNTS)


def test_seed_defaults_to_the_common_one(monkeypatch):
    monkeypatch.setattr(sampler_module, 'sync_random_seed', lambda: 41)
    one = LongTailedSampler(Labels())
    assert one.seed == 41
    assert list(one) == epoch_of(sampler(seed=41), 0)


# Several processes


@pytest.mark.parametrize('world', [1, 2, 3])
@pytest.mark.parametrize('num_samples', [None, 1, 7, 72])
@pytest.mark.parametrize('round_up', [True, False])
def test_processes_share_one_list(monkeypatch, world, num_samples, round_up):
    joint = epoch_of(sampler(num_samples=num_samples), 2)
    ranks = []
    for rank in range(world):
        kwargs = {'num_samples': num_samples, 'round_up': round_up}
        one = of_rank(monkeypatch, rank, world, **kwargs)
        ranks.append(epoch_of(one, 2))
        assert len(one) == len(ranks[-1])
    merged = [ranks[i % world][i // world] for i in range(sum(map(len, ranks)))]
    assert merged[: len(joint)] == joint
    padding = -len(joint) % world if round_up else 0
    assert merged[len(joint) :] == (joint * 3)[:padding]
    if round_up:
        assert len({len(indices) for indices in ranks}) == 1


def test_two_processes_have_the_batches_of_one(monkeypatch):
    joint = list(BatchSampler(sampler(), 8, drop_last=False))
    halves = [
        list(BatchSampler(of_rank(monkeypatch, rank, 2), 4, drop_last=False))
        for rank in (0, 1)
    ]
    assert len(joint) == len(halves[0]) == len(halves[1]) == 9
    for both, first, second in zip(joint, *halves, strict=True):
        assert sorted(both) == sorted(first + second)


# In MMEngine


class Images(BaseDataset):
    METAINFO = {'classes': ('a', 'b', 'c')}

    def load_data_list(self):
        return [{'gt_label': label} for label in (0, 0, 0, 0, 2, 2)]


def test_built_from_config_for_both_kinds_of_data_sets():
    config = {'type': 'LongTailedSampler', 'strategy': 'square_root'}
    inner = Images(ann_file='')
    plain = DATA_SAMPLERS.build(config, default_args={'dataset': inner, 'seed': 1})
    wrapped = DATA_SAMPLERS.build(
        config,
        default_args={'dataset': LongTailed(inner, allow_empty=True), 'seed': 1},
    )
    np.testing.assert_allclose(plain.probabilities * (2 + 2**0.5), [2, 0, 2**0.5])
    assert plain.probabilities.tolist() == wrapped.probabilities.tolist()
    assert list(plain) == list(wrapped)
    assert len(plain) == 6
    assert "strategy='square_root', beta=0.9999, seed=1" in repr(plain)


def test_data_loader():
    one = sampler(num_samples=50)
    batches = list(DataLoader(one.dataset, batch_size=8, sampler=one))
    assert torch.cat(batches).tolist() == list(one)
    assert len(batches) == 7


def test_resumed_run_equals_straight_run(tmp_path, monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')  # takes most of the time
    drawn, interrupt = [], []
    iterate = LongTailedSampler.__iter__

    def recording(self):
        if interrupt == [self.epoch]:
            raise KeyboardInterrupt
        indices = list(iterate(self))
        drawn.append((self.seed, self.epoch, indices))
        return iter(indices)

    monkeypatch.setattr(LongTailedSampler, '__iter__', recording)
    changes = {
        'train_dataloader__sampler': {'_delete_': True, 'type': 'LongTailedSampler'}
    }
    straight = run_tiny(tmp_path / 'a', randomness__seed=7, **changes)
    assert isinstance(straight.train_dataloader.sampler, LongTailedSampler)
    assert [(seed, epoch) for seed, epoch, _ in drawn] == [(7, 0), (7, 1), (7, 2)]
    expected = drawn.copy()
    drawn.clear()
    interrupt.append(2)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / 'b', randomness__seed=7, **changes)
    interrupt.clear()
    # The seed comes from the checkpoint.
    run_tiny(tmp_path / 'b', randomness__seed=None, resume=True, **changes)
    assert drawn == expected
    assert checkpoint_digest(tmp_path / 'b/epoch_3.pth') == checkpoint_digest(
        tmp_path / 'a/epoch_3.pth'
    )


# What is refused


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'strategy': 'cube_root'}, r"strategy: expected one of .* got 'cube_root'"),
        ({'beta': 1.0}, r'beta: expected 0 <= beta < 1, got 1\.0'),
        ({'beta': -0.1}, r'beta: expected 0 <= beta < 1, got -0\.1'),
        ({'beta': math.nan}, r'beta: expected 0 <= beta < 1, got nan'),
        ({'num_samples': 0}, 'num_samples: expected a whole number >= 1, got 0'),
        ({'seed': -1}, 'seed: expected at least 0, got -1'),
        ({'counts': []}, 'expected at least one image, got none'),
    ],
)
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        sampler(**kwargs)


@pytest.mark.parametrize(
    ('counts', 'message'),
    [
        ([3, -1], r'expected C numbers >= 0, got \[3, -1\]'),
        ([[3], [1]], r'expected C numbers >= 0, got \[\[3\], \[1\]\]'),
        ([0, 0], 'expected at least one image, got none in 2 classes'),
        ([], 'expected at least one image, got none in 0 classes'),
    ],
)
def test_bad_counts_are_refused(counts, message):
    with pytest.raises(ValueError, match=f'class_counts: {message}'):
        class_probabilities(counts)


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (np.array([0, 2, -1]), 'expected class indices >= 0, got -1 at image 2'),
        (np.array([0.0, 1.0]), 'expected one integer for each image, got .*float64'),
        (np.eye(2, dtype=int), r'expected one integer for each image, .*\(2, 2\)'),
    ],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=f'labels: {message}'):
        LongTailedSampler(Labels(labels=labels))


def test_data_set_without_labels_is_refused():
    with pytest.raises(TypeError, match=r'expected .*get_gt_labels\(\).*, got list'):
        LongTailedSampler([1, 2, 3])


def test_labels_of_another_number_than_images_are_refused(monkeypatch):
    monkeypatch.setattr(Labels, '__len__', lambda self: 5)
    with pytest.raises(ValueError, match=r'expected 5 labels, .* of Labels, got 72'):
        sampler()


def test_negative_epoch_is_refused():
    one = sampler()
    with pytest.raises(ValueError, match='epoch: expected at least 0, got -1'):
        one.set_epoch(-1)
    assert one.epoch == 0
