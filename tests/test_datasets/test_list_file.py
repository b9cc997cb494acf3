"""List files: what is read, what is refused, and the images behind them."""

import gzip
from types import SimpleNamespace

import numpy as np
import pytest
from mmpretrain.datasets import ImageNet
from mmpretrain.registry import DATASETS
from PIL import Image

from ride_mm.datasets import LongTailed, LTImageNet, LTListFile
from ride_mm.datasets.list_file import counts_hash, image_number
from ride_mm.engine.hooks import DatasetCheckHook

LINES = 'a/1.jpg 0\na/2.jpg 0\nb/my dog 3.jpg 1\nc/4.jpg 2\n'
PATHS = ['a/1.jpg', 'a/2.jpg', 'b/my dog 3.jpg', 'c/4.jpg']
LABELS = [0, 0, 1, 2]


@pytest.fixture
def root(tmp_path):
    """A folder with a list of four images, and the images."""
    (tmp_path / 'train.txt').write_text(LINES)
    for i, path in enumerate(PATHS):
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        pixels = np.random.RandomState(i).randint(0, 256, (40, 50, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    return tmp_path


def from_list(root, ann_file='train.txt', num_classes=3, **kwargs):
    return LTListFile(ann_file, str(root), num_classes=num_classes, **kwargs)


def records(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [(info['img_path'], info['gt_label']) for info in infos]


def expected(root, paths=PATHS):
    return [(f'{root}/{p}', label) for p, label in zip(paths, LABELS, strict=True)]


@pytest.mark.parametrize(
    'data',
    [
        LINES.encode(),
        LINES.strip().encode(),
        LINES.replace('\n', '\r\n').encode() + b'\r\n \r\n',
        LINES.replace('.jpg ', '.jpg \t ').encode(),
        LINES.replace('a/', './a//').encode(),
        b'\xef\xbb\xbf' + LINES.encode(),
        gzip.compress(LINES.encode()),
    ],
    ids=['plain', 'no end', 'CRLF', 'blanks', 'dots', 'byte order mark', 'gzip'],
)
def test_every_form_of_a_list_reads_the_same(root, data):
    (root / 'train.txt').write_bytes(data)
    assert records(from_list(root)) == expected(root)


def test_a_gzipped_list_is_found_by_its_plain_name(root):
    (root / 'train.txt').unlink()
    (root / 'train.txt.gz').write_bytes(gzip.compress(LINES.encode()))
    assert records(from_list(root)) == records(from_list(root, 'train.txt.gz'))
    assert records(from_list(root)) == expected(root)


@pytest.mark.parametrize('prefix', ['images', 'images/', {'img_path': 'images'}])
def test_images_below_a_prefix(root, prefix):
    (root / 'images').mkdir()
    for folder in 'abc':
        (root / folder).rename(root / 'images' / folder)
    dataset = from_list(root, data_prefix=prefix)
    assert records(dataset) == expected(root, [f'images/{path}' for path in PATHS])


def test_without_a_root_paths_start_from_the_current_folder(root, monkeypatch):
    monkeypatch.chdir(root)
    dataset = LTListFile('train.txt', num_classes=3)
    assert [path for path, _ in records(dataset)] == PATHS


def test_images_are_loaded(root):
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'PackInputs'}]
    dataset = from_list(root, pipeline=pipeline)
    assert dataset[2]['inputs'].shape == (3, 40, 50)
    assert dataset[2]['data_samples'].gt_label.item() == 1


def test_a_missing_list_is_named(root):
    with pytest.raises(FileNotFoundError, match=r'no\.txt or .*no\.txt\.gz, got neit'):
        from_list(root, 'no.txt')


def test_a_class_without_a_training_image_is_named(root):
    message = r"train\.txt: .* each of the 5 classes, got none of 2: 'class 3' \(3\), "
    with pytest.raises(ValueError, match=message):
        from_list(root, num_classes=5)
    with pytest.raises(ValueError, match=message):
        from_list(root, num_classes=5, test_mode=True, allow_empty=False)
    assert len(from_list(root, num_classes=5, test_mode=True)) == 4
    assert len(from_list(root, num_classes=5, allow_empty=True)) == 4


def test_labels_with_a_gap_are_refused_in_training(root):
    (root / 'train.txt').write_text('a/1.jpg 0\na/2.jpg 0\nc/4.jpg 2\n')
    message = r"train\.txt: .* each of the 3 classes, got none of 1: 'class 1' \(1\); "
    with pytest.raises(ValueError, match=message):
        from_list(root)
    test = from_list(root, test_mode=True)
    assert test.get_gt_labels().tolist() == [0, 0, 2]
    with pytest.raises(
        ValueError, match="each of the 3 classes, got none of 1: 'class"
    ):
        LongTailed(from_list(root, allow_empty=True))
    assert LongTailed(test, allow_empty=True).class_counts.tolist() == [2, 0, 1]


@pytest.mark.parametrize('test_mode', [False, True])
def test_empty_images_are_named(root, test_mode):
    (root / 'a/2.jpg').write_bytes(b'')
    with pytest.raises(
        RuntimeError, match=r'1 of 4 .*\n  .*/a/2\.jpg: the file is emp'
    ):
        from_list(root, test_mode=test_mode)
    dataset = from_list(root, test_mode=test_mode, probe=0)
    if test_mode:
        runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))
        with pytest.raises(RuntimeError, match=r'/a/2\.jpg: the file is empty'):
            DatasetCheckHook().before_test(runner)
    else:
        with pytest.raises(RuntimeError, match=r'/a/2\.jpg: the file is empty'):
            LongTailed(dataset)


def test_class_counts_other_than_expected_are_refused(root):
    good = counts_hash([2, 1, 1])
    assert len(from_list(root, expected_counts=good)) == 4
    other = counts_hash([1, 1, 2])
    with pytest.raises(ValueError) as caught:
        from_list(root, expected_counts=other, test_mode=True)
    message = str(caught.value)
    assert f'expected_counts is {other!r}, got {good!r}: 4 images, 3 classes' in message


@pytest.mark.parametrize('test_mode', [False, True])
def test_missing_images_are_named(root, test_mode):
    (root / 'b/my dog 3.jpg').unlink()
    with pytest.raises(RuntimeError, match=r'1 of 4 .*\n.*my dog 3.jpg: no such file'):
        from_list(root, test_mode=test_mode)
    assert len(from_list(root, test_mode=test_mode, probe=0)) == 4


def test_a_few_images_tell_a_wrong_folder(tmp_path):
    lines = ''.join(f'{i}.jpg 0\n' for i in range(1000))
    (tmp_path / 'train.txt').write_text(lines)
    with pytest.raises(RuntimeError, match='16 of 16 image files'):
        from_list(tmp_path, num_classes=1)
    with pytest.raises(RuntimeError, match='10 of 10 image files'):
        from_list(tmp_path, num_classes=1, probe=10)
    for i in range(0, 1000, 111):  # From the first to the last.
        (tmp_path / f'{i}.jpg').write_bytes(b'.')
    dataset = from_list(tmp_path, num_classes=1, probe=10)
    # All of them are looked at where the set is trained on.
    with pytest.raises(RuntimeError, match='990 of 1000 image files'):
        LongTailed(dataset, check_images='exists')


def test_all_images_of_a_test_list_are_looked_at_before_the_first_batch(root):
    dataset = from_list(root, test_mode=True, probe=1)
    (root / 'c/4.jpg').unlink()
    loader = SimpleNamespace(dataset=dataset)
    runner = SimpleNamespace(test_dataloader=loader)
    with pytest.raises(RuntimeError, match=r'1 of 4 .*\n.*c/4.jpg: no such file'):
        DatasetCheckHook().before_test(runner)


def test_where_the_names_of_a_dataset_come_from(root):
    assert from_list(root).CLASSES == ('class 0', 'class 1', 'class 2')
    assert from_list(root, classes=['x', 'y', 'z']).CLASSES == ('x', 'y', 'z')
    meta = {'classes': ['x', 'y', 'z'], 'source': 'here'}
    dataset = from_list(root, metainfo=meta)
    assert dataset.metainfo == {'classes': ('x', 'y', 'z'), 'source': 'here'}
    assert LTListFile.METAINFO == {}
    images = LTImageNet('train.txt', str(root), allow_empty=True)
    assert images.CLASSES == ImageNet.METAINFO['classes']
    assert LTImageNet.METAINFO['classes'][999].startswith('toilet tissue')


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'ann_file': ''}, "ann_file: expected a list file, got ''"),
        ({'probe': -1}, 'probe: expected a number >= 0, got -1'),
    ],
)
def test_bad_settings_are_refused(root, settings, message):
    with pytest.raises(ValueError, match=message):
        from_list(root, **settings)


def test_nothing_is_read_before_it_is_needed(tmp_path):
    dataset = from_list(tmp_path, lazy_init=True)
    assert dataset.CLASSES == ('class 0', 'class 1', 'class 2')
    with pytest.raises(FileNotFoundError):
        dataset.full_init()


def test_the_hash_is_of_the_lines_in_any_order(root):
    (root / 'other.txt').write_text('\n'.join(reversed(LINES.splitlines())))
    (root / 'renamed.txt').write_text(LINES.replace('c/4', 'a/4'))
    (root / 'swapped.txt').write_text(
        LINES.replace('3.jpg 1', '3.jpg 2').replace('4.jpg 2', '4.jpg 1')
    )
    names = 'train', 'other', 'renamed', 'swapped'
    hashes = [
        LongTailed(from_list(root, f'{name}.txt', probe=0), check_images='none').hash
        for name in names
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    with pytest.raises(ValueError, match=f'expected_hash is .*, got {hashes[0]!r}'):
        LongTailed(from_list(root), expected_hash=hashes[2])


def test_numbers_of_images_are_positive_and_differ():
    numbers = {image_number(f'{i}.jpg', label) for i in range(99) for label in (0, 1)}
    assert len(numbers) == 198
    assert 0 <= min(numbers)
    assert max(numbers) < 2**63


def test_augmentation_follows_the_image_and_not_its_line(root):
    (root / 'other.txt').write_text('\n'.join(reversed(LINES.splitlines())))
    pipeline = [
        {'type': 'LoadImageFromFile'},
        {'type': 'RandomResizedCrop', 'scale': 32},
        {'type': 'PackInputs'},
    ]
    inner = {'type': 'LTListFile', 'data_root': str(root), 'num_classes': 3}
    one, two = (
        DATASETS.build(
            {
                'type': 'LongTailed',
                'dataset': {**inner, 'ann_file': name, 'pipeline': pipeline},
            }
        )
        for name in ('train.txt', 'other.txt')
    )
    one.set_epoch(2, seed=5)
    two.set_epoch(2, seed=5)
    assert one.class_counts.tolist() == two.class_counts.tolist() == [2, 1, 1]
    for i in range(4):
        assert one[i]['inputs'].equal(two[3 - i]['inputs'])
    first = one[0]['inputs']
    one.set_epoch(3, seed=5)
    assert not one[0]['inputs'].equal(first)
