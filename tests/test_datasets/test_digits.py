import sys

import numpy as np
import pytest
from mmpretrain.registry import DATASETS

from ride_mm.datasets import Digits
from ride_mm.datasets.digits import double, load_digits

sklearn_datasets = pytest.importorskip('sklearn.datasets')


def rows_of(dataset):
    return [dataset.get_data_info(i)['official_index'] for i in range(len(dataset))]


def test_split_is_balanced_disjoint_and_complete():
    train, test = (Digits(split=split) for split in ('train', 'test'))
    assert (len(train), len(test)) == (1497, 300)
    assert np.bincount(test.get_gt_labels()).tolist() == [30] * 10
    assert sorted(rows_of(train) + rows_of(test)) == list(range(1797))


def test_seed_and_size_of_the_test_part():
    def rows(**kwargs):
        return rows_of(Digits(split='test', **kwargs))

    assert rows() == rows(seed=0)
    assert rows() != rows(seed=1)
    assert len(rows(test_per_class=5)) == 50


def test_records_hold_scikit_learns_images():
    digits = sklearn_datasets.load_digits()
    dataset = Digits(split='test')
    info = dataset.get_data_info(7)
    row = info['official_index']
    assert info['gt_label'] == digits.target[row]
    assert info['sample_idx'] == 7
    assert (info['img'].shape, info['img'].dtype) == ((16, 16, 3), np.uint8)
    blocks = info['img'][..., 0].reshape(8, 2, 8, 2).mean((1, 3))
    assert np.corrcoef(blocks.ravel(), digits.images[row].ravel())[0, 1] > 0.95
    assert (info['img'] == info['img'][..., :1]).all()


def test_full_range_of_grey():
    images, labels = load_digits()
    assert (images.min(), images.max()) == (0, 255)
    assert len(images) == len(labels) == 1797


def test_double_is_bilinear():
    assert double(np.array([0.0, 4.0, 8.0]), 0).tolist() == [0, 1, 3, 5, 7, 8]
    ramp = np.array([[0.0, 4.0], [0.0, 4.0]])
    assert double(ramp, 1).tolist() == [[0, 1, 3, 4]] * 2
    assert double(ramp, 0).tolist() == [[0, 4]] * 4


def test_goes_through_a_pipeline():
    config = {'type': 'Digits', 'split': 'train', 'pipeline': [{'type': 'PackInputs'}]}
    dataset = DATASETS.build(config)
    assert dataset[0]['inputs'].shape == (3, 16, 16)
    assert dataset.CLASSES == tuple('0123456789')
    assert 'Split: \ttrain' in repr(dataset)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'split': 'val'}, "'train', 'test'.*, got 'val'"),
        ({'test_per_class': 0}, 'at least 1, got 0'),
        ({'test_per_class': 200}, 'class 0: expected at least 200 .* got 178'),
    ],
)
def test_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Digits(**kwargs)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn', None)
    with pytest.raises(ImportError, match='pip install scikit-learn'):
        Digits()
