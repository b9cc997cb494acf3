"""``tools/dataset_converters/`` from the command line, on made-up archives."""

import io
import json
import os
import runpy
import signal
import subprocess
import sys
import tarfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from engine_helpers import REPOSITORY

from ride_mm.cli.dataset_converters import prepare_dataset
from ride_mm.cli.dataset_converters.prepare_dataset import prepare_main
from ride_mm.cli.runs.work_dir import LOCK

CLASSES = ['n01440764', 'n01443537']
LISTS = {
    'train': [f'train/{c}/{c}_{i}.JPEG' for c in CLASSES for i in range(4)],
    'val': [f'train/{c}/{c}_{9}.JPEG' for c in CLASSES],
    'test': [f'val/{c}/ILSVRC2012_val_0000000{i}.JPEG' for i, c in enumerate(CLASSES)],
}
ALL = [path for paths in LISTS.values() for path in paths]

# Stops in the middle of the third image.
HALF = """
import sys, time
from ride_mm.cli.dataset_converters.prepare_dataset import prepare_main
from ride_mm.datasets.preparation import archives

write = archives._write

def slowly(file, data, target):
    write(file, data[:9], target)
    if target.name.endswith('_2.JPEG'):
        print('half', flush=True)
        time.sleep(60)
    write(file, data[9:], target)

archives._write = slowly
prepare_main('imagenet_lt', sys.argv[1:])
"""


def content(path):
    return Path(path).name.encode() * 50


def pack(file, paths, flat=False):
    with tarfile.open(file, 'w') as tar:
        for path in paths:
            member = tarfile.TarInfo(Path(path).name if flat else path)
            member.size = len(content(path))
            tar.addfile(member, io.BytesIO(content(path)))
    return file


@pytest.fixture
def here(tmp_path):
    """ImageNet's archives and the lists of ImageNet-LT, in small."""
    (tmp_path / 'lists').mkdir()
    for part, paths in LISTS.items():
        lines = [f'{path} {CLASSES.index(path.split("/")[1])}\n' for path in paths]
        (tmp_path / f'lists/ImageNet_LT_{part}.txt').write_text(''.join(lines))
    (tmp_path / 'classes').mkdir()
    for name in CLASSES:
        paths = [f'train/{name}/{name}_{i}.JPEG' for i in range(10)]
        pack(tmp_path / f'classes/{name}.tar', paths, flat=True)
    with tarfile.open(tmp_path / 'train.tar', 'w') as tar:
        for name in CLASSES:
            tar.add(tmp_path / f'classes/{name}.tar', f'{name}.tar')
    pack(tmp_path / 'val.tar', LISTS['test'], flat=True)
    return tmp_path


def prepare(here, *options, name='imagenet_lt'):
    """Error of the tool, None if all went well."""
    try:
        prepare_main(name, [str(here / 'out'), *map(str, options), '--any-counts'])
    except SystemExit as err:
        return err.code
    return None


def images(here):
    """Images of the layout."""
    out = here / 'out'
    found = out.rglob('*') if out.exists() else ()
    return sorted(p.relative_to(out).as_posix() for p in found if p.suffix == '.JPEG')


@pytest.mark.parametrize('train', ['train.tar', 'classes'])
def test_archives_become_the_layout(here, capsys, train):
    options = '--lists', here / 'lists', '--images', here / train
    error = prepare(here, *options)
    assert 'expected all 12 listed images, got 10; missing:\n' in error
    assert f'{here}/out/{LISTS["test"][1]}: no such file' in error
    assert prepare(here, '--images', here / 'val.tar') is None
    assert images(here) == sorted(ALL)
    assert all((here / 'out' / path).read_bytes() == content(path) for path in ALL)
    out = capsys.readouterr().out
    assert '10 images extracted, 0 were there; 10 are on no list and left out' in out
    assert 'all 12 listed images of ImageNet-LT are there' in out
    assert prepare(here, '--all', '--images', here / train, here / 'val.tar') is None
    assert len(images(here)) == 22


def test_folders_are_linked(here, capsys):
    unpacked = here / 'unpacked'
    for path in ALL:
        (unpacked / path).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / path).write_bytes(content(path))
    theirs = unpacked / LISTS['train'][0].replace(
        'train/n01440764/', 'train/n01440764/.'
    )
    theirs = theirs.with_name(f'{theirs.name}.ride_mm-tmp')
    theirs.touch()
    assert prepare(here, '--lists', here / 'lists', '--images', unpacked) is None
    assert theirs.exists()
    assert '12 images linked (train, val as a whole)' in capsys.readouterr().out
    assert (here / 'out/train').resolve() == unpacked / 'train'
    error = prepare(here, '--images', here / 'train.tar')
    assert f'{here}/out/train: expected a folder to extract into, got a link' in error
    assert prepare(here) is None


def test_a_killed_extraction_goes_on(here):
    options = '--images', here / 'train.tar', here / 'val.tar'
    command = [sys.executable, '-c', HALF, here / 'out', '--lists', here / 'lists']
    command += ['--any-counts', *options]
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': str(REPOSITORY)},
    ) as process:
        for line in process.stdout:
            if line == b'half\n':
                break
        busy = prepare(here, '--images', here / 'train.tar')
        assert 'expected a folder that is prepared by this program alone' in busy
        process.send_signal(signal.SIGKILL)
    assert images(here) == LISTS['train'][:2]
    assert prepare(here, *options) is None
    assert images(here) == sorted(ALL)
    hidden = [path.name for path in (here / 'out').rglob('.*')]
    assert hidden == [LOCK]


def test_lists_must_be_the_published_ones(here, capsys):
    with pytest.raises(SystemExit) as caught:
        prepare_main('imagenet_lt', [str(here / 'out'), '--lists', str(here / 'lists')])
    expected = (
        'ImageNet_LT_train.txt: expected the published class counts, got 8 images'
    )
    assert expected in caught.value.code
    assert list((here / 'out').glob('*')) == []
    (here / 'lists/ImageNet_LT_val.txt').write_text('a.JPEG 0\n/b.JPEG 1\n')
    error = prepare(here, '--lists', here / 'lists')
    assert 'ImageNet_LT_val.txt, line 2: expected a relative path' in error
    (here / 'lists/ImageNet_LT_val.txt').unlink()
    error = prepare(here, '--lists', here / 'lists')
    assert f'expected {here}/lists/ImageNet_LT_val.txt, got no such file' in error


def test_places_lt_must_also_have_the_published_lines(tmp_path):
    counts = np.load(REPOSITORY / 'tests/data/lt_splits/class_counts.npz')['places_lt']
    labels = np.repeat(np.arange(365), counts.astype(int)).tolist()
    lines = [f'train/{label}/{i}.jpg {label}\n' for i, label in enumerate(labels)]
    (tmp_path / 'Places_LT_train.txt').write_text(''.join(lines))
    with pytest.raises(SystemExit) as caught:
        prepare_main('places_lt', [str(tmp_path)])
    assert 'expected the published list, got one with the same' in caught.value.code


def test_bad_options_are_refused(here):
    assert 'no.tar, got no such file or folder' in prepare(here, '--images', 'no.tar')
    error = prepare(here, '--lists', here / 'lists', '--images', here / 'lists')
    assert f'{here}/lists: expected images of the benchmark in it, got none' in error
    error = prepare(here, '--images', here / 'lists/ImageNet_LT_val.txt')
    assert 'ImageNet_LT_val.txt: expected a complete tar archive' in error
    assert images(here) == []


def test_a_small_disk_is_foreseen(here, monkeypatch):
    usage = namedtuple('usage', 'free')(100)
    monkeypatch.setattr(prepare_dataset.shutil, 'disk_usage', lambda path: usage)
    options = '--lists', here / 'lists', '--images', here / 'train.tar'
    assert 'of free space, got 0.0' in prepare(here, *options)
    assert 'of free space, got 0.0' in prepare(here, *options, '--all')
    assert images(here) == []


def test_inaturalist_from_its_annotations(tmp_path):
    for part, names in (('train', 'ab'), ('val', 'c')):
        paths = [f'train_val2018/Aves/{i}/{name}.jpg' for i, name in enumerate(names)]
        images = [{'id': i, 'file_name': path} for i, path in enumerate(paths)]
        labels = [{'image_id': i, 'category_id': i} for i in range(len(paths))]
        data = {'images': images, 'annotations': labels}
        (tmp_path / f'{part}2018.json').write_text(json.dumps(data))
    paths = [f'train_val2018/Aves/{path}.jpg' for path in ('0/a', '1/b', '0/c')]
    pack(tmp_path / 'train_val2018.tar', paths)
    annotations = [tmp_path / f'{part}2018.json' for part in ('train', 'val')]
    options = '--annotations', *annotations, '--images', tmp_path / 'train_val2018.tar'
    assert prepare(tmp_path, *options, name='inat2018') is None
    for path in paths:
        assert (tmp_path / 'out' / path).read_bytes() == content(path)
    lists = [tmp_path / f'out/iNaturalist18_{part}.txt' for part in ('train', 'val')]
    assert lists[0].read_text() == f'{paths[0]} 0\n{paths[1]} 1\n'
    assert lists[1].read_text() == f'{paths[2]} 0\n'
    error = prepare(tmp_path, *options, '--lists', tmp_path, name='inat2018')
    assert error == 'error: expected --lists or --annotations, got both'
    with pytest.raises(SystemExit) as caught:
        prepare_main('inat2018', [str(tmp_path / 'new'), *map(str, options)])
    assert 'train2018.json: expected the published class counts' in caught.value.code
    assert not list((tmp_path / 'new').glob('iNat*'))


@pytest.mark.parametrize('name', ['imagenet_lt', 'inat2018', 'places_lt'])
def test_the_programs(name, tmp_path, monkeypatch):
    program = str(REPOSITORY / f'tools/dataset_converters/{name}.py')
    monkeypatch.setattr(sys, 'argv', [program, str(tmp_path)])
    with pytest.raises(SystemExit, match='got no such file; --lists FOLDER') as caught:
        runpy.run_path(program, run_name='__main__')
    first = dict(imagenet_lt='ImageNet', inat2018='iNaturalist', places_lt='Places')
    assert f'{tmp_path}/{first[name]}' in caught.value.code
