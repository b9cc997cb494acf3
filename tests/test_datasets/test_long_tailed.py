import copy
import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset
from mmpretrain.datasets import BaseDataset, CustomDataset
from mmpretrain.registry import DATASETS, TRANSFORMS
from PIL import Image
from torch.utils.data import DataLoader

from ride_mm.datasets import LongTailed
from ride_mm.datasets.imbalance import (
    imbalanced_counts,
    official_subset,
    subset_hash,
)

LABELS = np.arange(120) % 4


class Numbers(BaseDataset):
    """Images whose pixels are their row, 30 of each of 4 classes."""

    METAINFO = {'classes': ('a', 'b', 'c', 'd')}

    def __init__(self, labels=LABELS, first=None, **kwargs):
        self.labels, self.first = labels, first
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self):
        infos = [
            {'img': np.full((2, 2, 3), row, np.uint8), 'gt_label': label}
            for row, label in enumerate(self.labels)
        ]
        if self.first is not None:
            for row, info in enumerate(infos):
                info['official_index'] = self.first + row
        return infos


class Noise:
    """Three random numbers, one from each generator that transforms use."""

    def __call__(self, results):
        results['noise'] = torch.tensor([np.random.rand(), torch.rand(()).item()])
        return results


class Broken:
    def __init__(self, result=None):
        self.result = result

    def __call__(self, results):
        if self.result is None:
            return None
        raise self.result


def long_tailed(pipeline=(), test_mode=False, labels=LABELS, first=None, **kwargs):
    inner = Numbers(labels, first, pipeline=pipeline, test_mode=test_mode)
    return LongTailed(inner, **kwargs)


def test_without_imbalance_the_dataset_is_taken_as_it_is():
    dataset = long_tailed(labels=[0, 1, 2, 3, 3, 0])
    assert len(dataset) == 6
    assert dataset.indices.tolist() == list(range(6))
    assert dataset.class_counts.tolist() == [2, 1, 1, 2]
    assert dataset.get_gt_labels().tolist() == [0, 1, 2, 3, 3, 0]
    assert dataset.CLASSES == ('a', 'b', 'c', 'd')
    assert dataset.hash == subset_hash(range(6))


@pytest.mark.parametrize('kind', ['exp', 'step'])
def test_subset_is_the_official_one(kind):
    dataset = long_tailed(imbalance=kind, factor=10, seed=3)
    counts = imbalanced_counts(30, 4, kind, 10)
    assert dataset.class_counts.tolist() == counts.tolist()
    assert dataset.class_counts.dtype == np.int64
    assert dataset.indices.tolist() == official_subset(LABELS, counts, seed=3)
    assert dataset.get_gt_labels().tolist() == LABELS[dataset.indices].tolist()
    for i in (0, 5, len(dataset) - 1):
        row = dataset.indices[i]
        assert dataset.get_data_info(i)['img'].max() == row
        assert dataset[i]['img'].max() == row
        assert dataset.get_cat_ids(i) == [LABELS[row]]


def test_n_max_is_the_smallest_class_unless_given():
    labels = np.repeat(range(4), [40, 35, 30, 33])
    assert long_tailed(labels=labels, imbalance='exp', factor=3).class_counts[0] == 30
    dataset = long_tailed(labels=labels, imbalance='exp', factor=3, n_max=36)
    assert dataset.class_counts.tolist() == imbalanced_counts(36, 4, 'exp', 3).tolist()
    with pytest.raises(ValueError, match='class 0: expected at least 41 .* got 40'):
        long_tailed(labels=labels, imbalance='exp', factor=3, n_max=41)


def test_metainfo_holds_plain_data():
    metainfo = long_tailed(imbalance='exp', factor=10).metainfo
    assert metainfo['classes'] == ('a', 'b', 'c', 'd')
    assert metainfo['class_counts'] == [30, 13, 6, 3]
    assert {type(count) for count in metainfo['class_counts']} == {int}


def test_shot_groups():
    groups = long_tailed(imbalance='exp', factor=10).shot_groups(many=20, few=6)
    named = {name: classes.tolist() for name, classes in groups.items()}
    assert named == {'many': [0], 'medium': [1, 2], 'few': [3]}


def test_hash_is_in_official_numbers():
    dataset = long_tailed(first=1000, imbalance='exp', factor=10)
    assert dataset.hash == subset_hash(dataset.indices + 1000)


def test_concatenated_files_with_overlapping_numbers_use_positions():
    both = ConcatDataset([Numbers(first=0), Numbers(first=0)])
    dataset = LongTailed(both, imbalance='exp', factor=10)
    assert dataset.class_counts.tolist() == [60, 27, 12, 6]
    assert dataset.hash == subset_hash(dataset.indices)


def test_expected_hash():
    got = long_tailed(imbalance='exp', factor=10).hash
    same = long_tailed(imbalance='exp', factor=10, expected_hash=got)
    assert same.hash == got
    with pytest.raises(ValueError) as caught:
        long_tailed(imbalance='exp', factor=10, seed=1, expected_hash=got)
    message = str(caught.value)
    other = long_tailed(imbalance='exp', factor=10, seed=1).hash
    assert f'expected_hash is {got!r}, got {other!r}' in message
    assert f'set expected_hash={other!r}' in message


def test_held_out_parts_share_nothing():
    settings = {'imbalance': 'exp', 'factor': 10, 'held_out': {'fraction': 0.2}}
    whole = long_tailed(imbalance='exp', factor=10)
    train = long_tailed(**settings, expected_hash=whole.hash)
    val = long_tailed(**settings, expected_hash=whole.hash, part='val')
    assert sorted([*train.indices, *val.indices]) == sorted(whole.indices)
    assert np.bincount(val.get_gt_labels()).tolist() == [6, 3, 1, 1]
    # Shots are a property of what is trained on, in either part.
    assert train.class_counts.tolist() == [24, 10, 5, 2]
    assert val.class_counts.tolist() == [24, 10, 5, 2]
    assert np.bincount(train.get_gt_labels()).tolist() == [24, 10, 5, 2]


def test_lazy_init():
    dataset = LongTailed(Numbers(lazy_init=True), imbalance='exp', lazy_init=True)
    assert 'not loaded yet' in repr(dataset)
    assert 'class_counts' not in dataset.metainfo
    with pytest.raises(ValueError, match='no image'):
        dataset.full_init()
    dataset.factor = 10
    assert dataset.class_counts.tolist() == [30, 13, 6, 3]
    assert dataset.metainfo['class_counts'] == [30, 13, 6, 3]


def test_repr_and_log(monkeypatch):
    said = []
    monkeypatch.setattr(
        'ride_mm.datasets.long_tailed.print_log', lambda text, logger: said.append(text)
    )
    dataset = long_tailed(imbalance='exp', factor=10)
    facts = (
        '52 images, 4 classes with 30..3 training images (imbalance factor 10), '
        f'many / medium / few 0 / 1 / 3, subset {dataset.hash}'
    )
    assert said == [f'LongTailed train part: {facts}']
    assert repr(dataset).startswith(f'LongTailed(train: {facts})\n    Dataset Numbers')


def test_images_to_test_on_are_not_said_to_be_trained_on(monkeypatch):
    said = []
    monkeypatch.setattr(
        'ride_mm.datasets.long_tailed.print_log', lambda text, logger: said.append(text)
    )
    dataset = long_tailed(test_mode=True)
    number = len(dataset)
    facts = f'{number} of 4 classes, subset {dataset.hash}'
    assert said == [f'LongTailed images to test on: {facts}']


def test_is_built_from_a_config():
    inner = {'type': 'Digits', 'split': 'train', 'pipeline': [{'type': 'PackInputs'}]}
    pytest.importorskip('sklearn')
    dataset = DATASETS.build({'type': 'LongTailed', 'dataset': inner, 'n_max': None})
    assert len(dataset) == 1497
    assert dataset[0]['inputs'].shape == (3, 16, 16)


def test_an_index_from_the_end_is_the_same_sample():
    dataset = long_tailed(labels=[0, 1, 2, 3], pipeline=[dict(type='PackInputs')])
    last = dataset[-1]['data_samples']
    assert last.sample_idx == dataset[3]['data_samples'].sample_idx == 3
    with pytest.raises(IndexError):
        dataset[4]


def test_can_be_wrapped_for_class_balanced_sampling():
    long_tail = Numbers([0] * 8 + [1, 2, 3])
    inner = {'type': LongTailed, 'dataset': long_tail}
    balanced = ClassBalancedDataset(inner, oversample_thr=0.5)
    assert len(balanced) == 8 + 3 * 3
    assert balanced[len(balanced) - 1]['img'].max() == 10


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'imbalance': 'linear'}, "imbalance: .*, got 'linear'"),
        ({'part': 'test'}, "part: .*, got 'test'"),
        ({'check_images': 'maybe'}, "check_images: .*, got 'maybe'"),
        ({'part': 'val'}, 'expected held_out to be set, got None'),
        ({'held_out': {}}, 'either fraction or per_class'),
        ({'imbalance': 'exp', 'factor': 0}, 'expected a number >= 1, got 0'),
        ({'imbalance': 'exp', 'factor': 31}, 'no image of 1 of 4 classes'),
        ({'labels': [0, 1, 2, 4]}, r'image 3: expected a label in \[0, 3\], got 4'),
        ({'labels': [0, -1, 2, 3]}, r'image 1: expected a label in \[0, 3\], got -1'),
        ({'labels': [0, [1, 2]]}, r'image 1: .* one integer, got \[1, 2\]'),
        ({'labels': [0, 2, 0]}, r"got none of 2: 'b' \(1\), 'd' \(3\)"),
        ({'labels': [0, 1, 2], 'imbalance': 'exp'}, r"got none of 1: 'd' \(3\)"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        long_tailed(**settings)


def test_empty_classes_may_be_allowed():
    dataset = long_tailed(labels=[0, 2, 0], allow_empty=True)
    assert dataset.class_counts.tolist() == [2, 0, 1, 0]
    assert 'imbalance factor inf' in repr(dataset)


def test_refuses_what_is_no_dataset():
    with pytest.raises(TypeError, match='get_data_info, got list'):
        LongTailed([1, 2])


def test_refuses_a_dataset_without_classes():
    inner = Numbers()
    inner._metainfo.pop('classes')
    with pytest.raises(ValueError, match='Numbers: expected the names of the classes'):
        LongTailed(inner)


def noise(dataset, indices=range(6)):
    return [dataset[i]['noise'].tolist() for i in indices]


def test_augmentation_is_a_function_of_seed_epoch_and_official_index():
    dataset = long_tailed([Noise()], imbalance='exp', factor=10)
    dataset.set_epoch(3, seed=7)
    first = noise(dataset)
    assert noise(dataset) == first
    assert noise(dataset, reversed(range(6))) == first[::-1]
    other = long_tailed([Noise()], imbalance='step', factor=2)
    other.set_epoch(3, seed=7)
    same = {int(p): i for i, p in enumerate(other.indices)}
    common = [i for i in range(6) if int(dataset.indices[i]) in same]
    assert common
    assert noise(other, [same[int(dataset.indices[i])] for i in common]) == [
        first[i] for i in common
    ]
    for epoch, seed in [(4, 7), (3, 8), (7, 3)]:
        dataset.set_epoch(epoch, seed=seed)
        assert all(a != b for a, b in zip(noise(dataset), first, strict=True))


def test_augmentation_leaves_the_main_process_generators_alone():
    dataset = long_tailed([Noise()])
    dataset.set_epoch(0, seed=0)
    np.random.seed(5)
    torch.manual_seed(5)
    expected = np.random.rand(), torch.rand(()).item()
    np.random.seed(5)
    torch.manual_seed(5)
    noise(dataset)
    assert (np.random.rand(), torch.rand(()).item()) == expected


@pytest.mark.parametrize('test_mode', [True, False])
def test_ambient_generators_in_test_mode_and_before_the_first_epoch(test_mode):
    dataset = long_tailed([Noise()], test_mode=test_mode)
    if test_mode:
        dataset.set_epoch(0, seed=0)
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    assert dataset[0]['noise'][0] == pytest.approx(expected)


@pytest.mark.parametrize(('epoch', 'seed'), [(-1, 0), (0, -1)])
def test_set_epoch_refuses_negative_numbers(epoch, seed):
    with pytest.raises(ValueError, match=f'got epoch={epoch} and seed={seed}'):
        long_tailed().set_epoch(epoch, seed)


@pytest.mark.parametrize(
    'context', ['fork', pytest.param('spawn', marks=pytest.mark.slow)]
)
def test_workers_equal_the_main_process(context):
    dataset = long_tailed([Noise()], imbalance='exp', factor=10)

    def epochs(loader):
        found = []
        for epoch in range(2):
            dataset.set_epoch(epoch, seed=1)
            found.append([batch['noise'].tolist() for batch in loader])
        return found

    workers = DataLoader(
        dataset,
        batch_size=8,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context=context,
    )
    found = epochs(workers)
    assert found == epochs(DataLoader(dataset, batch_size=8))
    assert found[0] != found[1]


def through_pickle(dataset):
    return pickle.loads(pickle.dumps(dataset))


@pytest.mark.parametrize('duplicate', [copy.deepcopy, through_pickle])
def test_copies_keep_the_epoch_in_shared_memory_of_their_own(duplicate):
    dataset = long_tailed([Noise()], imbalance='exp', factor=10)
    dataset.set_epoch(1, seed=2)
    twin = duplicate(dataset)
    assert noise(twin) == noise(dataset)
    assert twin._position.is_shared()
    twin.set_epoch(2, seed=2)
    assert noise(twin) != noise(dataset)


@pytest.mark.parametrize(
    ('fault', 'message'),
    [(None, 'Cannot find valid image'), (OSError('cut off'), 'OSError: cut off')],
)
def test_a_sample_that_fails_is_named(fault, message):
    dataset = long_tailed([Broken(fault)], first=500)
    with pytest.raises(RuntimeError, match=f'cannot load image 507: .*{message}'):
        dataset[7]


@pytest.fixture
def folder(tmp_path):
    """Three JPEG files in two class folders."""
    pixels = np.random.RandomState(0).randint(0, 256, (40, 40, 3)).astype(np.uint8)
    for name in ('cat/1.jpg', 'cat/2.png', 'dog/3.jpg'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path


def from_folder(folder, test_mode=False, **kwargs):
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'PackInputs'}]
    inner = CustomDataset(data_root=str(folder), pipeline=pipeline, test_mode=test_mode)
    return LongTailed(inner, **kwargs)


def test_files_are_loaded(folder):
    dataset = from_folder(folder)
    assert dataset.class_counts.tolist() == [2, 1]
    assert dataset[2]['inputs'].shape == (3, 40, 40)


def test_files_are_looked_at_beforehand(folder):
    (folder / 'dog/3.jpg').write_bytes(b'')
    with pytest.raises(RuntimeError, match=r'1 of 3 .*\n.*/3.jpg: the file is empty'):
        from_folder(folder)
    assert len(from_folder(folder, check_images='none')) == 3
    assert len(from_folder(folder, test_mode=True)) == 3


def test_only_files_of_the_part_are_looked_at(folder):
    (folder / 'cat/1.jpg').write_bytes(b'')
    (folder / 'cat/2.png').write_bytes(b'')
    with pytest.raises(RuntimeError, match='1 of 2 image files'):
        from_folder(folder, held_out={'per_class': 1})


@pytest.mark.parametrize('test_mode', [True, False])
def test_a_cut_file_is_named_when_it_is_loaded(folder, test_mode):
    path = folder / 'cat/2.png'
    path.write_bytes(path.read_bytes()[:900])
    dataset = from_folder(folder, test_mode, check_images='exists')
    dataset.set_epoch(0, seed=0)
    with pytest.raises(RuntimeError, match=f'cannot load {path}: '):
        dataset[1]
    batches = iter(DataLoader(dataset, sampler=[1], num_workers=1, collate_fn=list))
    with pytest.raises(RuntimeError, match=f'cannot load {path}: '):
        next(batches)
    # Left to the garbage collector, the end of the worker would be waited for.
    batches._shutdown_workers()


def test_an_image_that_the_loader_skips_is_not_replaced(folder):
    dataset = from_folder(folder)
    (folder / 'cat/2.png').unlink()
    load = {'type': 'LoadImageFromFile', 'ignore_empty': True}
    dataset.dataset.pipeline.transforms[0] = TRANSFORMS.build(load)
    with pytest.raises(RuntimeError, match='cannot load .*cat/2.png'):
        dataset[1]
