import hashlib
import pickle

import numpy as np
import pytest
from mmpretrain.datasets.categories import CIFAR100_CATEGORIES
from mmpretrain.registry import DATASETS

from ride_mm.datasets import LTCIFAR10, LTCIFAR100
from ride_mm.datasets.imbalance import subset_hash

IMAGES = np.random.RandomState(0).randint(0, 256, (6, 3072)).astype(np.uint8)


def write100(root, split='train', **changes):
    """Write one tiny file of CIFAR-100; None drops a key."""
    entry = {'data': IMAGES, 'fine_labels': [0, 1, 2, 3, 99, 0], **changes}
    folder = root / 'cifar-100-python'
    folder.mkdir(exist_ok=True)
    data = pickle.dumps({k: v for k, v in entry.items() if v is not None})
    (folder / split).write_bytes(data)
    return folder / split


def cifar100(root, split='train', **kwargs):
    kwargs = {'check_md5': False, 'download': False, **kwargs}
    return LTCIFAR100(data_root=str(root), split=split, **kwargs)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Record what would be downloaded."""
    asked = []

    def download(url, root, filename, md5):
        asked.append((url, root, filename, md5))
        raise OSError('no route to host')

    monkeypatch.setattr('ride_mm.datasets.cifar.download_and_extract_archive', download)
    return asked


@pytest.mark.parametrize('split', ['train', 'test'])
def test_reads_one_split_alone(tmp_path, split):
    write100(tmp_path, split)
    dataset = cifar100(tmp_path, split)
    assert len(dataset) == 6
    assert dataset.get_gt_labels().tolist() == [0, 1, 2, 3, 99, 0]
    assert dataset.CLASSES == CIFAR100_CATEGORIES
    image = dataset.get_data_info(4)['img']
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    planes = image[..., ::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(planes.ravel(), IMAGES[4])


def test_images_are_bgr(tmp_path):
    red = np.zeros((1, 3, 1024), np.uint8)
    red[:, 0] = 255
    write100(tmp_path, data=red.reshape(1, 3072), fine_labels=[0])
    sample = cifar100(tmp_path, pipeline=[{'type': 'PackInputs'}])[0]
    assert sample['inputs'][:, 5, 5].tolist() == [0, 0, 255]


def test_labels_may_be_an_array_and_keys_bytes(tmp_path):
    write100(tmp_path, **{'fine_labels': None, 'data': None}).write_bytes(
        pickle.dumps({b'data': IMAGES, b'fine_labels': np.arange(6)}, protocol=2)
    )
    assert cifar100(tmp_path).get_gt_labels().tolist() == list(range(6))


def test_official_files_are_numbered_in_order(tmp_path):
    write100(tmp_path)
    dataset = cifar100(tmp_path)
    assert dataset.official_indices.tolist() == list(range(6))
    assert dataset.subset_indices is None


def test_a_file_can_say_that_it_is_a_subset(tmp_path):
    rows = [5, 70, 300, 4000, 49999, 6]
    write100(tmp_path, indices=rows)
    dataset = cifar100(tmp_path)
    assert dataset.official_indices.tolist() == rows
    assert dataset.subset_indices.tolist() == rows
    assert dataset.get_data_info(4)['official_index'] == 49999


def test_a_file_that_numbers_all_images_is_no_subset(tmp_path, monkeypatch):
    monkeypatch.setattr(LTCIFAR100, 'official_sizes', {'train': 6, 'test': 1})
    write100(tmp_path, indices=[5, 4, 3, 2, 1, 0])
    dataset = cifar100(tmp_path)
    assert dataset.subset_indices is None
    assert dataset.official_indices.tolist() == [5, 4, 3, 2, 1, 0]


def test_numbers_follow_mmengines_own_subset(tmp_path):
    write100(tmp_path)
    assert cifar100(tmp_path, indices=[4, 1]).official_indices.tolist() == [4, 1]


def write10(root, batches=5, **changes):
    folder = root / 'cifar-10-batches-py'
    folder.mkdir()
    for batch in range(1, batches + 1):
        entry = {'data': IMAGES[:2], 'labels': [batch, 0]}
        entry |= {key: value[batch - 1] for key, value in changes.items()}
        data = pickle.dumps({k: v for k, v in entry.items() if v is not None})
        (folder / f'data_batch_{batch}').write_bytes(data)


def cifar10(root):
    return LTCIFAR10(data_root=str(root), check_md5=False, download=False)


def test_cifar10_numbers_its_rows_over_all_files(tmp_path):
    write10(tmp_path)
    dataset = cifar10(tmp_path)
    assert dataset.get_gt_labels().tolist() == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
    assert dataset.official_indices.tolist() == list(range(10))
    assert len(dataset.CLASSES) == 10


@pytest.mark.parametrize(
    'indices',
    [
        [[0, 1], [2, 3], None, [4, 5], [6, 7]],
        [[0, 1], [2, 3], [4, 5], [6, 7], [8, 0]],
    ],
)
def test_cifar10_indices_must_be_complete_and_different(tmp_path, indices):
    write10(tmp_path, indices=indices)
    with pytest.raises(ValueError, match='cifar-10-batches-py: .* without a number or'):
        cifar10(tmp_path)


def test_other_md5_is_refused_by_default(tmp_path, no_network):
    path = write100(tmp_path)
    got = hashlib.md5(path.read_bytes()).hexdigest()
    published = LTCIFAR100.train_list[0][1]
    with pytest.raises(ValueError) as caught:
        cifar100(tmp_path, check_md5=True, download=True)
    for word in (str(path), published, got, 'check_md5=False'):
        assert word in str(caught.value)
    assert no_network == []


def test_published_md5_passes(tmp_path, monkeypatch):
    path = write100(tmp_path)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(LTCIFAR100, 'train_list', [['train', md5]])
    assert len(cifar100(tmp_path, check_md5=True)) == 6


@pytest.mark.parametrize('check_md5', [True, False])
def test_nothing_is_downloaded_beside_existing_files(tmp_path, no_network, check_md5):
    path = write100(tmp_path, 'test')
    before = path.read_bytes()
    with pytest.raises(FileNotFoundError, match='expected train in .*already there'):
        cifar100(tmp_path, check_md5=check_md5, download=True)
    assert no_network == []
    assert path.read_bytes() == before


def test_no_download_unless_wanted(tmp_path, no_network):
    with pytest.raises(FileNotFoundError, match='expected train in .*download=False'):
        cifar100(tmp_path, download=False)
    assert no_network == []


def test_failed_download_says_what_to_put_where(tmp_path, no_network):
    with pytest.raises(FileNotFoundError) as caught:
        cifar100(tmp_path, download=True)
    for word in ('no route to host', LTCIFAR100.url, str(tmp_path), 'cifar-100-python'):
        assert word in str(caught.value)
    assert [request[3] for request in no_network] == [LTCIFAR100.tgz_md5]


def test_downloads_where_nothing_is(tmp_path, monkeypatch):
    monkeypatch.setattr(
        'ride_mm.datasets.cifar.download_and_extract_archive',
        lambda url, root, filename, md5: write100(tmp_path),
    )
    assert len(cifar100(tmp_path, download=True)) == 6


def test_nothing_is_downloaded_to_a_remote_folder(tmp_path, monkeypatch, no_network):
    monkeypatch.setattr('ride_mm.datasets.cifar.get_file_backend', lambda root: None)
    with pytest.raises(FileNotFoundError, match='is not a local folder'):
        cifar100(tmp_path, download=True)
    assert no_network == []


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'data': None}, r"expected the key 'data', got \['fine_labels'\]"),
        ({'fine_labels': None}, "expected the key 'fine_labels'"),
        ({'data': IMAGES[:, :-1]}, r'uint8 \(N, 3072\), got uint8 \(6, 3071\)'),
        ({'data': IMAGES.astype(np.float32)}, r'uint8 \(N, 3072\), got float32'),
        ({'data': IMAGES.tolist()}, r'uint8 \(N, 3072\), got list'),
        ({'fine_labels': [1, 2]}, r'expected 6 fine_labels, .* shape \(2,\)'),
        ({'fine_labels': ['a'] * 6}, 'expected integer fine_labels, got <U1'),
        ({'fine_labels': [0, 1, 100, 3, 4, 5]}, r'\[0, 99\], got 100 in row 2'),
        ({'fine_labels': [0, -1, 2, 3, 4, 5]}, r'\[0, 99\], got -1 in row 1'),
        ({'indices': [1, 2]}, r'expected 6 indices, one per image'),
        ({'indices': [0, 1, 2, 3, 4, 50000]}, r'\[0, 49999\], got 50000 in row 5'),
        ({'indices': [0, 1, 2, 3, 4, 4]}, 'each row once'),
    ],
)
def test_malformed_entries_are_refused(tmp_path, changes, message):
    write100(tmp_path, **changes)
    with pytest.raises(ValueError, match=f'{tmp_path}/cifar-100-python.*: .*{message}'):
        cifar100(tmp_path)


def test_ragged_labels_are_refused(tmp_path):
    write100(tmp_path, fine_labels=[[1], [1, 2], 3, 4, 5, 6])
    with pytest.raises(ValueError, match='expected integer fine_labels, got a ragged'):
        cifar100(tmp_path)


def test_hostile_and_truncated_files_are_refused(tmp_path):
    path = write100(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f'{path}: '):
        cifar100(tmp_path)
    path.write_bytes(b'cos\nsystem\n(Vexit 1\ntR.')
    with pytest.raises(ValueError, match=f'{path}: refused.* os.system'):
        cifar100(tmp_path)


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'train', 'test'.*, got 'val'"):
        cifar100(tmp_path, split='val')


def test_a_subset_file_and_the_full_file_give_the_same_training_set(tmp_path):
    labels = np.arange(600) % 100
    images = np.random.RandomState(1).randint(0, 256, (600, 3072)).astype(np.uint8)
    pipeline = [
        {'type': 'RandomCrop', 'crop_size': 32, 'padding': 4},
        {'type': 'RandomFlip', 'prob': 0.5, 'direction': 'horizontal'},
        {'type': 'LTRandomRotation', 'degrees': 15},
        {'type': 'PackInputs'},
    ]

    def long_tailed(root, **kwargs):
        inner = {
            'type': 'LTCIFAR100',
            'data_root': str(root),
            'check_md5': False,
            'pipeline': pipeline,
        }
        dataset = DATASETS.build({'type': 'LongTailed', 'dataset': inner, **kwargs})
        dataset.set_epoch(2, seed=1)
        return dataset

    (tmp_path / 'full').mkdir()
    write100(tmp_path / 'full', data=images, fine_labels=labels.tolist())
    full = long_tailed(tmp_path / 'full', imbalance='exp', factor=6)
    rows = np.sort(full.indices)
    (tmp_path / 'part').mkdir()
    write100(
        tmp_path / 'part',
        data=images[rows],
        fine_labels=labels[rows].tolist(),
        indices=rows.tolist(),
    )
    part = long_tailed(tmp_path / 'part', expected_hash=subset_hash(rows))

    assert part.hash == full.hash
    assert part.class_counts.tolist() == full.class_counts.tolist()
    for i, j in enumerate(np.argsort(full.indices)[:20]):
        assert (part[i]['inputs'] == full[int(j)]['inputs']).all()
    with pytest.raises(ValueError, match='LTCIFAR100 already is a subset .*=None, got'):
        long_tailed(tmp_path / 'part', imbalance='exp')
    wanted = dict(imbalance='exp', factor=6)
    known = long_tailed(tmp_path / 'part', expected_hash=full.hash, **wanted)
    assert known.indices.tolist() == part.indices.tolist()
    with pytest.raises(ValueError, match='already is a subset'):
        long_tailed(tmp_path / 'part', expected_hash='0' * 16, **wanted)
