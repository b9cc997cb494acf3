import json
from pathlib import Path

import numpy as np
import pytest
from golden import tensor
from mmengine.config import Config

from ride_mm.datasets.imbalance import (
    class_counts_of,
    held_out_split,
    imbalanced_counts,
    official_subset,
    subset_hash,
)
from ride_mm.datasets.subset import check_hash, choose_subset, known_hashes
from ride_mm.utils import resource_root

DATA = Path(__file__).parents[1] / 'data' / 'ride'
GOLDEN = json.loads((DATA / 'imbalance.json').read_text())


@pytest.mark.parametrize('name', GOLDEN['class_counts'])
def test_counts_are_the_official_ones(name):
    dataset, kind, factor = name.split('_')
    num_classes = int(dataset[len('cifar') :])
    counts = imbalanced_counts(
        50000 / num_classes, num_classes, kind, float(factor[len('if') :])
    )
    assert counts.tolist() == GOLDEN['class_counts'][name]


def test_counts_of_odd_number_of_classes_in_steps():
    assert imbalanced_counts(20, 5, 'step', 10).tolist() == [20, 20, 2, 2, 2]


def test_factor_one_is_balanced():
    assert imbalanced_counts(7, 3, 'exp', 1).tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            {'n_max': 9, 'num_classes': 3, 'kind': 'linear'},
            r"expected one of \('exp', 'step'\), got 'linear'",
        ),
        ({'n_max': 9, 'num_classes': 3, 'factor': 0}, 'expected a number >= 1, got 0'),
        ({'n_max': 9, 'num_classes': 3, 'factor': 0.5}, 'expected a number >= 1'),
        ({'n_max': 9, 'num_classes': 3, 'factor': float('nan')}, 'got nan'),
        ({'n_max': 9, 'num_classes': 1}, 'expected at least 2, got 1'),
        ({'n_max': 9, 'num_classes': 3, 'factor': 10}, 'no image of 1 of 3 classes'),
        ({'n_max': 0, 'num_classes': 3, 'factor': 1}, 'no image of 3 of 3 classes'),
    ],
)
def test_counts_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        imbalanced_counts(**arguments)


def test_worked_subset():
    golden = GOLDEN['subset']
    labels = tensor('lt/labels', (5000,), 'normal').argsort().argsort() % 10
    counts = imbalanced_counts(500, 10, golden['type'], 1 / golden['imbalance'])
    assert counts.tolist() == golden['counts']

    chosen = official_subset(labels, counts)

    per_class = np.split(np.array(chosen), counts.cumsum()[:-1])
    assert [indices[:3].tolist() for indices in per_class] == golden['first_three']
    assert [int(indices[-1]) for indices in per_class] == golden['last']
    checksum = sum(rank * index for rank, index in enumerate(chosen, start=1))
    assert checksum == golden['checksum']


def test_cifar100_lt_index_by_index():
    golden = np.load(DATA / 'cifar100_if100.npz')
    chosen = official_subset(golden['labels'], imbalanced_counts(500, 100))
    assert len(chosen) == 10847
    assert chosen == golden['indices'].tolist()
    assert subset_hash(chosen) == '644b6d28caa663f3'


# Training images by data set, kind and factor, as the literature counts them.
TOTALS = {
    ('cifar10', 'exp'): {10: 20431, 50: 13996, 100: 12406, 200: 11203},
    ('cifar100', 'exp'): {10: 19573, 50: 12608, 100: 10847, 200: 9502},
    ('cifar10', 'step'): {10: 27500, 50: 25500, 100: 25250, 200: 25125},
    ('cifar100', 'step'): {10: 27500, 50: 25500, 100: 25250, 200: 25100},
}
SETTINGS = [(*of, factor) for of, totals in TOTALS.items() for factor in totals]


@pytest.mark.parametrize(('name', 'kind', 'factor'), SETTINGS)
def test_counts_equal_the_formula_and_the_known_totals(name, kind, factor):
    num_classes = int(name.removeprefix('cifar'))
    n_max = 50000 // num_classes
    config = Config.fromfile(resource_root() / f'configs/_base_/datasets/{name}_lt.py')
    assert config.data_preprocessor.num_classes == num_classes
    settings = config.train_dataloader.dataset
    assert (settings.imbalance, settings.factor, settings.seed) == ('exp', 100, 0)
    labels = np.repeat(np.arange(num_classes), n_max)
    classes = [str(c) for c in range(num_classes)]
    subset = choose_subset(labels, classes, kind, factor, settings.get('n_max'), 0)
    counts = np.bincount(labels[subset])
    for c, count in enumerate(counts.tolist()):
        if kind == 'exp':
            # Exactly int(n_max * factor ** (-c / (C - 1))), in whole numbers.
            power = num_classes - 1
            assert count**power * factor**c <= n_max**power
            assert (count + 1) ** power * factor**c > n_max**power
        else:
            assert count == (n_max if c < num_classes // 2 else n_max // factor)
    assert counts.sum() == TOTALS[name, kind][factor]
    assert counts.max() / counts.min() == pytest.approx(factor, rel=0.25)


@pytest.mark.parametrize('setting', [of[1:] for of in SETTINGS if of[0] == 'cifar100'])
def test_the_hash_of_each_setting_of_cifar100_is_expected(setting):
    config = Config.fromfile(resource_root() / 'configs/_base_/datasets/cifar100_lt.py')
    known = config.train_dataloader.dataset.expected_hash.to_dict()
    labels = np.load(DATA / 'cifar100_if100.npz')['labels']
    classes = [str(c) for c in range(100)]
    subset = subset_hash(choose_subset(labels, classes, *setting, None, 0))
    assert known_hashes(known, *setting, None, 0) == (subset,)
    assert len(known) == 8


def test_the_hash_of_all_of_cifar100_is_expected():
    config = Config.fromfile(resource_root() / 'configs/ride/ride_r32_cifar100.py')
    settings = config.train_dataloader.dataset
    assert settings.imbalance is None
    assert settings.expected_hash == subset_hash(range(50000))


def test_global_generator_is_left_alone():
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    first = official_subset([0, 0, 1, 1], [1, 1], seed=0)
    held_out_split([0, 0, 1, 1], per_class=1)
    assert np.random.rand() == expected
    assert official_subset([0, 0, 1, 1], [1, 1], seed=0) == first


def test_subset_refuses_more_than_there_is():
    with pytest.raises(ValueError, match='class 1: expected at least 3 .* got 2'):
        official_subset([0, 0, 0, 1, 1], [2, 3])


def test_hash_ignores_order_and_integer_type_but_not_content():
    assert subset_hash([5, 1, 300]) == subset_hash(np.array([300, 5, 1], np.int16))
    assert subset_hash([5, 1, 300]) != subset_hash([5, 1, 301])
    assert subset_hash([0, 1]) != subset_hash([0, 1, 1])
    assert len(subset_hash([])) == 16


@pytest.mark.parametrize(
    ('how', 'expected'),
    [
        ({'fraction': 0.1}, [10, 1, 1, 0]),
        ({'fraction': 0.9}, [90, 9, 1, 0]),
        ({'per_class': 5}, [5, 5, 1, 0]),
    ],
)
def test_held_out_split_by_class(how, expected):
    labels = np.random.RandomState(0).permutation(np.repeat(range(4), [100, 10, 2, 1]))
    train, val = held_out_split(labels, **how)
    assert np.bincount(labels[val], minlength=4).tolist() == expected
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert np.bincount(labels[train], minlength=4).min() >= 1


def test_held_out_split_depends_on_its_seed_alone():
    labels = np.arange(100) % 5
    first, second = (held_out_split(labels, fraction=0.2, seed=1)[1] for _ in range(2))
    assert first.tolist() == second.tolist()
    assert first.tolist() != held_out_split(labels, fraction=0.2, seed=2)[1].tolist()


@pytest.mark.parametrize(
    ('how', 'message'),
    [
        ({}, 'either fraction or per_class'),
        ({'fraction': 0.1, 'per_class': 1}, 'either fraction or per_class'),
        ({'fraction': 0}, '0 < fraction < 1, got 0'),
        ({'fraction': 1}, '0 < fraction < 1, got 1'),
        ({'per_class': 0}, 'at least 1, got 0'),
    ],
)
def test_held_out_split_refuses(how, message):
    with pytest.raises(ValueError, match=message):
        held_out_split([0, 1], **how)


def test_class_counts_include_empty_last_classes():
    counts = class_counts_of([0, 2, 0], 'abcd', allow_empty=True)
    assert counts.tolist() == [2, 0, 1, 0]


def test_class_counts_name_empty_classes():
    with pytest.raises(
        ValueError, match=r"got none of 2: 'b' \(1\), 'd' \(3\); allow_"
    ):
        class_counts_of([0, 2, 0], 'abcd', allow_empty=False)
    with pytest.raises(ValueError, match=r"got none of 1: 'b' \(1\)$"):
        class_counts_of([0, 2, 0], 'abc')


@pytest.mark.parametrize('label', [-1, 3])
def test_class_counts_name_the_first_label_out_of_range(label):
    with pytest.raises(
        ValueError, match=rf'image 1: .* \[0, 2\], got {label} \(2 of 4'
    ):
        class_counts_of([0, label, 2, label], 'abc')


KNOWN = {'exp-100': 'a', 'exp-50': 'b', 'step-100': 'c'}


@pytest.mark.parametrize(
    ('expected', 'setting', 'known'),
    [
        (None, ('exp', 100, None, 0), ()),
        ('x', ('exp', 37, 5, 1), ('x',)),
        (KNOWN, ('exp', 100, None, 0), ('a',)),
        (KNOWN, ('exp', 50.0, None, 0), ('b',)),
        (KNOWN, ('step', 100, None, 0), ('c',)),
        # A file that already is a subset has to be one of them.
        (KNOWN, (None, 100, None, 0), ('a', 'b', 'c')),
        # No hash is known of these.
        (KNOWN, ('exp', 37, None, 0), ()),
        (KNOWN, ('exp', 100, 300, 0), ()),
        (KNOWN, ('exp', 100, None, 1), ()),
    ],
)
def test_which_hashes_are_expected(expected, setting, known):
    assert known_hashes(expected, *setting) == known
    check_hash('b' if 'b' in known else known[0] if known else 'z', known, 'CIFAR')
    if known:
        with pytest.raises(
            ValueError, match="subset of CIFAR: .* got 'z'; if this sub"
        ):
            check_hash('z', known, 'CIFAR')
