"""What is found in a folder of images with one of each fault."""

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmpretrain.datasets import CustomDataset
from PIL import Image

from ride_mm.datasets import Digits, LongTailed
from ride_mm.datasets.opening import open_dataset
from ride_mm.datasets.verification import (
    counts_of,
    findings_between,
    findings_of_set,
    loader_of,
    look_at_all,
    pixel_digest,
)

CLASSES = ['cat', 'dog', 'eel']


def noise(seed, size=(24, 20)):
    pixels = np.random.RandomState(seed).randint(0, 256, (*size, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def save(image, path, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **kwargs)


@pytest.fixture
def root(tmp_path):
    """Two sets of images; each fault occurs once."""
    for i in range(4):
        save(noise(i), tmp_path / f'train/cat/{i}.png')
        save(noise(10 + i), tmp_path / f'train/dog/{i}.jpg')
        save(noise(20 + i), tmp_path / f'test/cat/{i}.png')
    (tmp_path / 'train/eel').mkdir()
    return tmp_path


def folder(root, part, backend='pillow', classes=CLASSES, **kwargs):
    load = {'type': 'LoadImageFromFile', 'imdecode_backend': backend}
    return CustomDataset(
        data_root=str(root),
        data_prefix=part,
        pipeline=[load],
        metainfo={'classes': classes},
        **kwargs,
    )


def found(dataset, kind_of_empty=None):
    looks = look_at_all(dataset, 2, 'train')
    classes = dataset.metainfo['classes']
    findings = findings_of_set('train', looks, classes, kind_of_empty)
    return [(finding.kind, finding.message) for finding in findings]


def test_nothing_is_found_where_nothing_is_wrong(root):
    assert found(folder(root, 'train')) == []
    assert found(Digits()) == []


def test_classes_without_an_image(root):
    assert found(folder(root, 'train'), 'untrained') == [('untrained', 'eel (2)')]
    looks = look_at_all(folder(root, 'train'), 1, 'train')
    assert counts_of(looks, 3).tolist() == [4, 4, 0]


def test_unreadable_files(root):
    dataset = folder(root, 'train')
    (root / 'train/cat/0.png').unlink()
    (root / 'train/cat/1.png').write_bytes(b'')
    for path in ('cat/2.png', 'dog/0.jpg'):
        whole = (root / 'train' / path).read_bytes()
        (root / 'train' / path).write_bytes(whole[: len(whole) // 2])
    (root / 'train/dog/1.jpg').write_text('no image')
    got = found(dataset)
    assert [kind for kind, _ in got] == ['missing', 'empty', *['corrupt'] * 3]
    names = ['0.png: no such', '1.png: the file is empty', '2.png: ', '0.jpg: OSError']
    for name, (_, message) in zip(names, got, strict=False):
        assert f'{root}/train/' in message
        assert name in message


class NoGIF(LoadImageFromFile):
    def transform(self, results):
        return None if results['img_path'].endswith('.gif') else results


def test_what_the_pipeline_cannot_load_is_corrupt(root):
    save(noise(40).convert('P'), root / 'train/eel/0.gif')
    dataset = folder(root, 'train', extensions=('.png', '.jpg', '.gif'))
    assert loader_of(LongTailed(dataset)) is None  # It is Pillow, as here.
    assert found(dataset) == []
    dataset.pipeline.transforms[0] = NoGIF()
    message = f'{root}/train/eel/0.gif: ValueError: the pipeline loads nothing'
    assert found(dataset) == [('corrupt', message)]


def test_the_same_pixels_in_another_file(root):
    image = Image.open(root / 'train/cat/1.png')
    save(image, root / 'train/cat/again.bmp')
    save(image, root / 'train/eel/other.png', compress_level=1)
    (message,) = {m for kind, m in found(folder(root, 'train')) if kind == 'conflict'}
    start = f'{root}/train/cat/1.png (cat) = {root}/train/cat/again.bmp (cat) = '
    assert message == f'{start}{root}/train/eel/other.png (eel)'
    (root / 'train/eel/other.png').unlink()
    got = found(folder(root, 'train'))
    assert got == [('duplicate', start.removesuffix(' = '))]


def test_images_of_two_sets(root):
    save(Image.open(root / 'train/dog/2.jpg'), root / 'test/cat/leak.bmp')
    (root / 'train/cat/cut.jpg').write_bytes(b'\xff\xd8 cut')
    (root / 'test/cat/link.jpg').symlink_to(root / 'train/cat/cut.jpg')
    train = look_at_all(folder(root, 'train'), 1, '')
    # The numbers of the classes differ; their names are told.
    test = look_at_all(folder(root, 'test', classes=['a cat']), 1, '')
    got = list(findings_between({'train': train, 'val, test': test}))
    assert {(one.kind, one.where) for one in got} == {
        ('overlap', 'train and val, test')
    }
    leak = f'{root}/train/dog/2.jpg (dog) = {root}/test/cat/leak.bmp (a cat)'
    assert [one.message for one in got] == [leak, f'{root}/test/cat/link.jpg']


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'I;16', '1'])
def test_pixels_decide_in_every_mode(tmp_path, mode):
    if mode == 'I;16':
        # Converted to eight bits, all of these would be white.
        images = [Image.fromarray(np.full((4, 4), 1000 + i, np.uint16)) for i in (0, 1)]
    elif mode == 'RGBA':
        images = [noise(0).convert('RGBA') for _ in range(2)]
        images[1].putalpha(7)
    else:
        images = [noise(i).convert(mode) for i in range(2)]
    digests = []
    for i, image in enumerate(images):
        save(image, tmp_path / f'{i}.png', compress_level=i)
        save(image, tmp_path / f'{i}.tif')
        same = [
            pixel_digest((tmp_path / f'{i}.{s}').read_bytes()) for s in ('png', 'tif')
        ]
        assert same[0] == same[1]
        digests.append(same[0])
    assert digests[0] != digests[1]


def test_in_memory_images_are_compared_by_pixels():
    dataset = LongTailed(Digits(), imbalance='exp', factor=10)
    info = dataset.dataset.get_data_info
    first, other = (int(dataset.indices[i]) for i in (0, 3))

    def get_data_info(position):
        record = dict(info(position))
        if position == other:
            record['img'] = info(first)['img']
        return record

    dataset.dataset.get_data_info = get_data_info
    looks = look_at_all(dataset, 2, '')
    numbers = [info(position)['official_index'] for position in (first, other)]
    (got,) = findings_of_set('train', looks, dataset.CLASSES, 'untrained')
    assert got.kind == 'duplicate'
    assert set(got.message.split(' = ')) == {f'image {n} (0)' for n in numbers}
    assert len(looks) == len(dataset)


def test_ctrl_c_ends_it_at_once(root):
    dataset = folder(root, 'train')
    looked = []

    def get_data_info(position):
        looked.append(position)
        if len(looked) > len(dataset):  # Labels have been read.
            raise KeyboardInterrupt
        return {'img_path': 'no.jpg', 'gt_label': 0}

    dataset.get_data_info = get_data_info
    with pytest.raises(KeyboardInterrupt):
        look_at_all(dataset, 1, '')
    assert len(looked) < 2 * len(dataset)


def test_a_set_that_is_not_as_expected_is_opened_all_the_same(root):
    lines = [f'train/cat/{i}.png 0' for i in range(4)]
    (root / 'train.txt').write_text('\n'.join(lines))
    inner = dict(
        type='LTListFile',
        ann_file='train.txt',
        data_root=str(root),
        num_classes=2,
        expected_counts='0123456789abcdef',
    )
    dataset, fault = open_dataset(dict(type='LongTailed', dataset=inner))
    assert len(dataset) == 4
    assert fault.startswith(f"{root}/train.txt: expected_counts is '0123456789abcdef'")
    (root / 'train.txt').write_text('train/cat/0.png 0\n/train/cat/1.png 0')
    dataset, fault = open_dataset(dict(type='LongTailed', dataset=inner))
    assert dataset is None
    assert 'train.txt, line 2: expected a relative path' in fault


def test_nothing_is_downloaded(tmp_path):
    settings = dict(type='LTCIFAR100', data_root=str(tmp_path), split='test')
    dataset, fault = open_dataset(settings)
    assert dataset is None
    assert 'download=False' in fault
    assert list(tmp_path.iterdir()) == []
