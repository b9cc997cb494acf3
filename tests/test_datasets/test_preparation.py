"""Archives are extracted safely, and go on where they were interrupted."""

import errno
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ride_mm.datasets.preparation import (
    BENCHMARKS,
    PreparationError,
    Wanted,
    archives,
    extract,
    link,
    list_files,
    read_annotations,
)
from ride_mm.datasets.preparation.benchmarks import (
    place_imagenet,
    place_inat,
    place_places,
)

PLACES = BENCHMARKS['places_lt']
PATHS = ['train/airfield/00000001.jpg', 'train/zoo/00000001.jpg', 'val/zoo/P_1.jpg']


def add(tar, name, data=b'', kind=tarfile.REGTYPE, target=''):
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(data), kind, target
    tar.addfile(member, io.BytesIO(data))


def content(path):
    return f'pixels of {path} '.encode() * 100


def archive(path, names=PATHS, mode='w', prefix='places365_standard/'):
    with tarfile.open(path, mode) as tar:
        add(tar, prefix, kind=tarfile.DIRTYPE)
        add(tar, f'{prefix}README', b'no image')
        for name in names:
            add(tar, prefix + name, content(name))
    return path


def files(root):
    paths = (p for p in Path(root).rglob('*') if p.is_file())
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in paths}


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'root'


@pytest.mark.parametrize('mode', ['w', 'w:gz', 'w:xz'])
def test_listed_images_are_extracted(tmp_path, root, mode):
    source = archive(tmp_path / 'a.tar', [*PATHS, 'train/zoo/2.jpg'], mode)
    passed = []
    done = extract(source, root, Wanted(PLACES, PATHS), None, passed.append)
    assert (done.written, done.present, done.known, done.files) == (3, 0, 4, 5)
    assert files(root) == {path: content(path) for path in PATHS}
    assert 0 < sum(passed) <= source.stat().st_size
    done = extract(source, root, Wanted(PLACES, PATHS, everything=True))
    assert (done.written, done.present) == (1, 3)
    assert sorted(files(root)) == sorted([*PATHS, 'train/zoo/2.jpg'])


@pytest.mark.parametrize('mode', ['w', 'w:gz'])
def test_archives_of_classes_within_an_archive(tmp_path, root, mode):
    benchmark = BENCHMARKS['imagenet_lt']
    names = [f'{c}_{i}.JPEG' for c in ('n01440764', 'n01443537') for i in range(3)]
    with tarfile.open(tmp_path / 'train.tar', mode) as tar:
        for folder in ('n01440764', 'n01443537'):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode='w') as part:
                for name in names:
                    if name.startswith(folder):
                        add(part, name, content(name))
            add(tar, f'{folder}.tar', inner.getvalue())
    paths = [f'train/{names[i][:9]}/{names[i]}' for i in (1, 4)]
    wanted = Wanted(benchmark, [*paths, 'val/n01440764/ILSVRC2012_val_00000001.JPEG'])
    done = extract(tmp_path / 'train.tar', root, wanted, benchmark.inner_archives)
    assert (done.written, done.known) == (2, 6)
    assert files(root) == {path: content(path.split('/')[-1]) for path in paths}


def test_an_interrupted_extraction_goes_on(tmp_path, root, monkeypatch):
    source = archive(tmp_path / 'a.tar')
    wanted = Wanted(PLACES, PATHS)
    written = []

    def interrupted(file, data, target):
        file.write(data[:10])
        if len(written) == 1:
            raise KeyboardInterrupt
        file.write(data[10:])
        written.append(target)

    with monkeypatch.context() as patch:
        patch.setattr(archives, '_write', interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(source, root, wanted)
    assert files(root) == {PATHS[0]: content(PATHS[0])}
    # What another program left by half is written anew.
    (root / PATHS[1]).write_bytes(b'half')
    done = extract(source, root, wanted)
    assert (done.written, done.present) == (2, 1)
    assert files(root) == {path: content(path) for path in PATHS}


def test_a_full_disk_leaves_what_is_complete(tmp_path, root, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, 'No space left on device')

    source = archive(tmp_path / 'a.tar')
    target = root / 'train/x.jpg'
    with pytest.raises(PreparationError, match='x.jpg: expected space on the disk'):
        archives._write(Full(), b'data', target)
    write = archives._write

    def full(file, data, target):
        write(Full() if target.name.startswith('P_') else file, data, target)

    monkeypatch.setattr(archives, '_write', full)
    with pytest.raises(PreparationError, match=r'P_1\.jpg: expected space on the disk'):
        extract(source, root, Wanted(PLACES, PATHS))
    assert sorted(files(root)) == PATHS[:2]


def test_a_damaged_archive_is_refused(tmp_path, root):
    source = archive(tmp_path / 'a.tar', mode='w:gz')
    whole = source.read_bytes()
    for size in (40, 150, 200, 250):
        source.write_bytes(whole[:size])
        with pytest.raises(PreparationError, match=r'a\.tar: expected a complete tar '):
            extract(source, root, Wanted(PLACES, PATHS))
    plain = archive(tmp_path / 'b.tar')
    plain.write_bytes(plain.read_bytes()[:7000])
    with pytest.raises(PreparationError, match=r'b\.tar: .* 1 images are extracted'):
        extract(plain, root / 'b', Wanted(PLACES, PATHS))
    assert not [name for name in files(root) if 'tmp' in name]
    for data in (b'', b'no archive at all' * 100, b'\x1f\x8b no gzip'):
        plain.write_bytes(data)
        with pytest.raises(PreparationError, match='expected a complete tar archive'):
            extract(plain, root, Wanted(PLACES, PATHS))


def test_another_archive_is_refused(tmp_path, root, monkeypatch):
    source = archive(tmp_path / 'a.tar', ['a.png', 'b.png', 'c.png'])
    wanted = Wanted(PLACES, PATHS)
    with pytest.raises(PreparationError, match=r'got none in 4 files'):
        extract(source, root, wanted)
    monkeypatch.setattr(archives, 'PATIENCE', 3)
    with pytest.raises(PreparationError, match='among the first 3 files, such as .*/b'):
        extract(source, root, wanted)
    assert not root.exists()


@pytest.mark.parametrize(
    'name',
    ['x/train/../evil.jpg', '../val/../evil.jpg', '/train/../evil.jpg'],
)
def test_no_file_leaves_the_folder(tmp_path, root, name):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        add(tar, name, b'evil')
    with pytest.raises(PreparationError, match=r"expected a path without '\.\.'"):
        extract(tmp_path / 'a.tar', root, Wanted(PLACES, PATHS, everything=True))
    assert [path.name for path in tmp_path.rglob('*')] == ['a.tar']


@pytest.mark.parametrize(
    'kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path, root, kind):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        add(tar, 'outside', kind=kind, target='/etc/passwd')  # Not wanted.
        add(tar, PATHS[0], kind=kind, target='/etc/passwd')
    with pytest.raises(PreparationError, match='expected a regular file, got a link'):
        extract(tmp_path / 'a.tar', root, Wanted(PLACES, PATHS))
    assert not root.exists()


def test_images_of_lists_must_be_told_apart():
    with pytest.raises(PreparationError, match='last 2 parts, got a/zoo/1.jpg and b'):
        Wanted(PLACES, ['a/zoo/1.jpg', 'b/zoo/1.jpg'])


def test_where_images_belong():
    train, val = 'n01440764_7.JPEG', 'ILSVRC2012_val_00000001.JPEG'
    assert place_imagenet(f'ILSVRC/train/{train}') == f'train/n01440764/{train}'
    assert place_imagenet(val) == f'val/{val}'
    assert place_imagenet('n01440764.tar') is None
    path = 'train_val2018/Aves/2820/a.jpg'
    assert place_inat(f'./x/{path}') == path
    assert place_inat('Aves/2820/a.jpg') is None
    assert place_places('places365_standard/val/zoo/1.jpg') == 'val/zoo/1.jpg'
    assert place_places('places365_standard/train.txt') is None


def unpack(folder, paths=PATHS):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content(path))
    return folder


def test_a_folder_that_has_all_is_linked_as_a_whole(tmp_path, root):
    root.mkdir()
    source = unpack(tmp_path / 'elsewhere')
    wanted = Wanted(PLACES, PATHS)
    for _ in range(2):
        number, linked = link(source, root, wanted)
        assert number == 3
        assert (root / 'train').resolve() == source / 'train'
        assert {path.name for path in root.iterdir()} == {'train', 'val'}
    assert linked == []
    assert (root / PATHS[2]).read_bytes() == content(PATHS[2])


def test_a_folder_that_is_sorted_otherwise_is_linked_image_by_image(tmp_path, root):
    root.mkdir()
    paths = [f'val/n0144076{i}/ILSVRC2012_val_0000000{i}.JPEG' for i in (1, 2)]
    source = tmp_path / 'flat'
    source.mkdir()
    for path in paths:
        (source / Path(path).name).write_bytes(content(path))
    (source / 'again').symlink_to(source)
    wanted = Wanted(BENCHMARKS['imagenet_lt'], paths)
    assert link(source, root, wanted) == (2, [])
    assert files(root) == {path: content(path) for path in paths}
    assert all((root / path).is_symlink() for path in paths)
    assert not (root / 'val').is_symlink()


def test_what_is_in_the_layout_stays(tmp_path, root):
    unpack(root, PATHS[:1])
    (root / PATHS[0]).write_bytes(b'mine')
    (root / 'train/zoo').mkdir()
    (root / PATHS[1]).symlink_to(tmp_path / 'gone.jpg')
    number, linked = link(unpack(tmp_path / 'elsewhere'), root, Wanted(PLACES, PATHS))
    assert (number, linked) == (3, ['val'])
    expected = {path: content(path) for path in PATHS[:2]} | {PATHS[0]: b'mine'}
    assert {path: (root / path).read_bytes() for path in PATHS[:2]} == expected


def test_the_layout_is_no_source_of_itself(tmp_path):
    root = unpack(tmp_path / 'data/root', PATHS[:2])
    with pytest.raises(PreparationError, match='got none that is listed'):
        link(tmp_path / 'data', root, Wanted(PLACES, PATHS))
    assert not any(path.is_symlink() for path in root.rglob('*'))


def annotations(**changes):
    images = [
        {'id': 5, 'file_name': 'train_val2018/Aves/1/a.jpg'},
        {'id': 3, 'file_name': 'train_val2018/Fungi/0/b.jpg'},
    ]
    labels = [{'image_id': 3, 'category_id': 0}, {'image_id': 5, 'category_id': 1}]
    return {'images': images, 'annotations': labels, **changes}


@pytest.mark.parametrize('packed', [False, True])
def test_annotations_become_a_list(tmp_path, packed):
    data = json.dumps(annotations()).encode()
    path = tmp_path / 'train2018.json'
    path.write_bytes(data)
    if packed:
        path = tmp_path / 'train2018.json.tar.gz'
        with tarfile.open(path, 'w:gz') as tar:
            add(tar, 'train2018.json', data)
    paths, labels = read_annotations(path)
    assert paths == ['train_val2018/Aves/1/a.jpg', 'train_val2018/Fungi/0/b.jpg']
    np.testing.assert_array_equal(labels, [1, 0])


IMAGE = {'id': 5, 'file_name': 'a.jpg'}
LABEL = {'image_id': 5, 'category_id': 1}


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        ('{"images": [', 'expected complete JSON'),
        ('[]', "expected iNaturalist's annotations"),
        (json.dumps({'images': []}), "expected iNaturalist's .* KeyError"),
        (annotations(images=[]), 'expected annotated images, got none'),
        (annotations(annotations=[]), 'expected a label of .*a.jpg, got none'),
        (annotations(images=[IMAGE, IMAGE]), 'expected each image once, got a.jpg'),
        (
            annotations(images=[dict(IMAGE, file_name='../a.jpg')]),
            r"expected a path without '\.\.'",
        ),
        (
            annotations(annotations=[LABEL, dict(LABEL, category_id=2)]),
            'image 5: expected one label, got 1 and 2',
        ),
        (
            annotations(annotations=[dict(LABEL, category_id='1')]),
            'image 5: expected an integer as category_id',
        ),
    ],
)
def test_bad_annotations_are_refused(tmp_path, data, message):
    path = tmp_path / 'val2018.json'
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(PreparationError, match=rf'val2018\.json.*{message}'):
        read_annotations(path)


def test_the_lists_are_those_of_the_configs():
    root, lists = list_files('imagenet_lt')
    assert root == 'data/imagenet_lt'
    names = [f'ImageNet_LT_{part}.txt' for part in ('train', 'val', 'test')]
    assert [one.name for one in lists] == names
    assert [one.num_classes for one in lists] == [1000] * 3
    assert lists[0].counts == '3d8c615a8d2def22'
    assert len(list_files('inat2018')[1]) == 2
    lines = [one.lines for one in list_files('places_lt')[1]]
    assert lines == ['210cbb7e3840b625', None, None]
