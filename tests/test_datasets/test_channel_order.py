"""BGR images and ``to_rgb=True``: the network sees what RGB and False would show it."""

import pickle
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmpretrain.datasets import CIFAR100
from mmpretrain.registry import DATASETS, MODELS
from torch.utils.data import Dataset

import ride_mm.datasets
from ride_mm.datasets import LTCIFAR100, Digits, LongTailed
from ride_mm.datasets.batched import take_batch
from ride_mm.datasets.channel_order import channel_order
from ride_mm.datasets.digits import load_digits
from ride_mm.utils import find_config

PACK = [dict(type='PackInputs')]
CIFAR = 'ride_r32_cifar100lt', 'ce_r32_cifar100lt'
DIGITS = 'ride_r20_digitslt', 'ride_r20_digitslt_small_router'


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A tiny CIFAR-100, in which MMPretrain's own dataset believes, too."""
    stream = np.random.RandomState(0)
    folder = tmp_path / 'cifar-100-python'
    folder.mkdir()
    for split in ('train', 'test'):
        images = stream.randint(0, 256, (200, 3072)).astype(np.uint8)
        labels = [i % 100 for i in range(200)]
        entry = {'data': images, 'fine_labels': labels}
        (folder / split).write_bytes(pickle.dumps(entry))
    monkeypatch.setattr(CIFAR100, '_check_integrity', lambda self: True)
    return tmp_path


def dataset_of(cfg: dict, root: Path | None, stock: bool = False) -> Dataset:
    """Build one of a config's datasets on other files, or MMPretrain's in its place."""
    cfg = deepcopy(cfg)
    if cfg.get('imbalance'):
        cfg.update(expected_hash=None, factor=2)
    inner = cfg.get('dataset', cfg)
    if root is not None:
        inner['data_root'] = str(root)
        inner.update(dict(type='CIFAR100') if stock else dict(check_md5=False))
    dataset = DATASETS.build(cfg)
    if isinstance(dataset, LongTailed):
        dataset.set_epoch(3, seed=1)
    return dataset


def seen(dataset: Dataset, preprocessor: dict, collate=default_collate) -> torch.Tensor:
    """All images as they enter the network, (N, 3, H, W)."""
    module = MODELS.build({'type': 'ClsDataPreprocessor', **preprocessor})
    if collate is take_batch:
        batch = collate(dataset.__getitems__(range(len(dataset))))
    else:
        batch = collate([dataset[i] for i in range(len(dataset))])
    torch.manual_seed(0)  # Of the augmentation by the batch.
    return module(batch, training=True)['inputs']


@pytest.mark.parametrize(
    'part, collate',
    [
        ('train', take_batch),
        ('val', take_batch),
        ('test', default_collate),
        ('test', pseudo_collate),
    ],
)
@pytest.mark.parametrize('name', CIFAR)
def test_cifar_is_seen_as_mmpretrain_s_rgb_images_are(root, name, part, collate):
    cfg = Config.fromfile(find_config(name))
    ours = cfg[f'{part}_dataloader'].dataset
    before = deepcopy(ours)
    if part == 'test':
        before['pipeline'] = PACK
    rgb = dict(cfg.data_preprocessor, to_rgb=False)
    expected = seen(dataset_of(before, root, stock=True), rgb, collate)
    got = seen(dataset_of(ours, root), cfg.data_preprocessor, collate)
    assert cfg.data_preprocessor.to_rgb
    assert got.shape[1:] == (3, 32, 32)
    assert torch.equal(got, expected)
    assert got.stride() == expected.stride()
    assert not torch.equal(got[:, 0], got[:, 2])


@pytest.mark.parametrize('part', ['train', 'test'])
@pytest.mark.parametrize('name', DIGITS)
def test_digits_are_seen_as_they_are(name, part):
    cfg = Config.fromfile(find_config(name))
    ours = cfg[f'{part}_dataloader'].dataset
    before = deepcopy(ours)
    if part == 'test':
        before['pipeline'] = PACK
    rgb = dict(cfg.data_preprocessor, to_rgb=False)
    got = seen(dataset_of(ours, None), cfg.data_preprocessor)
    assert torch.equal(got, seen(dataset_of(before, None), rgb))
    assert got.shape[1:] == (3, 16, 16)
    if part == 'test':
        images = load_digits()[0][[*rows(Digits(split='test'))]]
        values = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        assert torch.equal(got, (values - torch.tensor(78.9)) / torch.tensor(81.7))


def rows(dataset: Dataset) -> list[int]:
    return [dataset.get_data_info(i)['official_index'] for i in range(len(dataset))]


def test_the_order_that_a_dataset_has(root):
    ours = LTCIFAR100(data_root=str(root), check_md5=False)
    stock = CIFAR100(data_root=str(root))
    assert channel_order(ours) == channel_order(LongTailed(ours)) == 'BGR'
    assert channel_order(stock) == channel_order(LongTailed(stock)) == 'RGB'
    assert channel_order(Digits(split='test')) is None
    image, other = (d.get_data_info(7)['img'] for d in (ours, stock))
    np.testing.assert_array_equal(image[..., ::-1], other)


def test_every_dataset_class_names_its_classes():
    """MMPretrain's get_model asks the class, which is not built, for them."""
    found = [kind for kind in vars(ride_mm.datasets).values() if isinstance(kind, type)]
    found = [kind for kind in found if DATASETS.get(kind.__name__) is kind]
    assert len(found) >= 4
    lengths = {k.__name__: len(k.METAINFO.get('classes', ())) for k in found}
    assert lengths == {
        'LTCIFAR10': 10,
        'LTCIFAR100': 100,
        'Digits': 10,
        'LTImageNet': 1000,
        'LTListFile': 0,
        'LTTableFile': 0,
        'LongTailed': 0,
        'BatchedLongTailed': 0,
    }
