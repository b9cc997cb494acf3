"""tools/new_dataset.py on folders and tables that a user might have."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, METRICS, MODELS
from own_images import CLASSES, break_some, hostile_folder
from PIL import Image

from ride_mm.cli.new_dataset import new_dataset_main
from ride_mm.utils import resource_root

TOOLS = resource_root() / 'tools'
WRITTEN = ['train.txt', 'test.txt', 'classes.txt', 'default_runtime.py']


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    return tmp_path / 'here'


@pytest.fixture
def photos(tmp_path) -> Path:
    return hostile_folder(tmp_path / 'my photos é')


def refused(*options) -> str:
    with pytest.raises(SystemExit) as caught:
        new_dataset_main([str(option) for option in options])
    return str(caught.value)


def written(*options, out: str) -> dict[str, str]:
    new_dataset_main([str(option) for option in options])
    return {p.name: p.read_text() for p in Path(out).iterdir()}


def lines(text: str) -> list[tuple[str, int]]:
    parts = [line.rsplit(' ', 1) for line in text.splitlines()]
    return [(path, int(label)) for path, label in parts]


def plain(folder: Path, images: dict[str, int]) -> Path:
    """A small image of a class and its number, for each."""
    for name, number in images.items():
        (folder / name).mkdir(parents=True)
        for i in range(number):
            Image.new('RGB', (33, 32), (i, 9, 9)).save(folder / name / f'{i}.png')
    return folder


def test_a_hostile_folder_is_split_by_class(here, photos, capsys):
    files = written(photos, out='configs_my_photos_e')
    configs = ['ride_my_photos_e.py', 'ride_my_photos_e_router.py']
    assert sorted(files) == sorted(WRITTEN + configs)
    names = files['classes.txt'].splitlines()
    assert names == sorted(CLASSES)
    train, test = lines(files['train.txt']), lines(files['test.txt'])
    assert not set(train) & set(test)
    sizes = dict(CLASSES)
    sizes['dark birch'] += 1
    for c, name in enumerate(names):
        of_class = [path for path, label in train + test if label == c]
        assert len(of_class) == sizes[name]
        assert all(path.split('/')[0] == name for path in of_class)
        assert all((photos / path).is_file() for path in of_class)
    kept = {names[c]: sum(label == c for _, label in test) for c in range(6)}
    # A fifth of 49 images is 10, or 2 of each class; at most a third of a class.
    assert kept == dict.fromkeys(CLASSES, 2) | {"o'brien": 1, 'two': 1, 'single': 0}
    told = capsys.readouterr().out
    for text in (
        '49 images of 6 classes',
        '"quoted", comma |     4 |    2 |',
        'no class, for it has no image: empty class/',
        '1 in no folder of a class',
        '1 .gif',
        '1 hidden',
        'imbalance factor 24',
        'transparency is dropped',
        'no test image, so its accuracy is not known: single (1)',
        'python ',
    ):
        assert text in told
    for kind in ('grey', 'palette', 'RGBA', 'CMYK', '16 bit or more'):
        assert kind in told


def test_the_configs_load_the_images_and_build(here, photos):
    written(photos, out='configs_my_photos_e')
    init_default_scope('mmpretrain')
    for stem in ('ride_my_photos_e', 'ride_my_photos_e_router'):
        config = Config.fromfile(f'configs_my_photos_e/{stem}.py')
        with torch.device('meta'):
            MODELS.build(config.model)
        for metric in config.test_evaluator:
            METRICS.build(metric)
        size = config.image_size
        for part in ('train', 'test'):
            dataset = DATASETS.build(config[f'{part}_dataloader'].dataset)
            assert list(dataset.metainfo['classes']) == sorted(CLASSES)
            for i in range(len(dataset)):
                assert dataset[i]['inputs'].shape == (3, size, size)
    assert config.model.head.type == 'RouterHead'
    one = Config.fromfile('configs_my_photos_e/ride_my_photos_e.py')
    assert config.load_from.endswith(f'/epoch_{one.train_cfg.max_epochs}.pth')
    assert one.test_evaluator[0].items() >= one.shots.items()
    assert config.test_evaluator[0] == one.test_evaluator[0]


def test_the_folder_of_configs_may_be_moved(here, photos, tmp_path):
    written(photos, out='configs_my_photos_e')
    moved = tmp_path / 'else where'
    Path('configs_my_photos_e').rename(moved)
    config = Config.fromfile(moved / 'ride_my_photos_e_router.py')
    assert config.train_dataloader.dataset.dataset.ann_file == f'{moved}/train.txt'
    assert len(DATASETS.build(config.test_dataloader.dataset)) == 8


def test_a_shipped_hook_is_in_the_copy_of_the_runtime(here, photos):
    text = written(photos, out='configs_my_photos_e')['default_runtime.py']
    shipped = resource_root() / 'configs/_base_/default_runtime.py'
    assert text == shipped.read_text()


def test_the_split_follows_from_the_seed_alone(here, photos):
    first = written(photos, '--out', 'a', out='a')
    assert written(photos, '--out', 'b', out='b')['test.txt'] == first['test.txt']
    other = written(photos, '--out', 'c', '--seed', 1, out='c')
    assert other['test.txt'] != first['test.txt']
    assert other['classes.txt'] == first['classes.txt']


def test_unreadable_images_stop_it_unless_they_are_to_be_skipped(here, photos, capsys):
    broken = break_some(photos)
    message = refused(photos)
    assert '3 of 52 images cannot be used' in message
    assert '--skip-unreadable' in message
    assert all(repr(name) in message for name in broken)
    assert not Path('configs_my_photos_e').exists()
    files = written(photos, '--skip-unreadable', out='configs_my_photos_e')
    listed = lines(files['train.txt']) + lines(files['test.txt'])
    assert len(listed) == 49
    assert not {path for path, _ in listed} & set(broken)
    assert 'skipped, for they cannot be used: 3' in capsys.readouterr().out


def test_a_class_of_unreadable_images_is_not_skipped(here, tmp_path):
    root = plain(tmp_path / 'own', dict(cat=3, dog=1, owl=2))
    (root / 'dog/0.png').write_bytes(b'')
    message = refused(root, '--skip-unreadable')
    assert "none of 'dog'" in message
    assert "'dog/0.png': the file is empty" in message


def test_a_file_that_was_changed_is_not_replaced(here, tmp_path):
    root = plain(tmp_path / 'own', dict(cat=5, dog=4))
    before = written(root, out='configs_own')
    assert written(root, out='configs_own') == before  # Nothing differs.
    config = Path('configs_own/ride_own.py')
    config.write_text(before['ride_own.py'] + '# mine\n')
    message = refused(root)
    assert 'got ride_own.py;' in message
    assert '--overwrite' in message
    assert config.read_text().endswith('# mine\n')
    assert 'train.txt' in refused(root, '--seed', 3)
    assert written(root, '--overwrite', out='configs_own') == before


def test_a_dry_run_writes_nothing(here, tmp_path, capsys):
    new_dataset_main([str(plain(tmp_path / 'own', dict(cat=5, dog=4))), '--dry-run'])
    assert list(here.iterdir()) == []
    assert 'Would be written to configs_own: train.txt' in capsys.readouterr().out


def test_parts_that_are_there_stay(here, tmp_path):
    root = tmp_path / 'own'
    for part, images in (
        ('Train', dict(cat=5, dog=2)),
        ('valid', dict(cat=1, dog=1)),
        ('test', dict(cat=2)),
    ):
        plain(root / part, images)
    files = written(root, out='configs_own')
    assert lines(files['val.txt']) == [('valid/cat/0.png', 0), ('valid/dog/0.png', 1)]
    assert lines(files['test.txt']) == [('test/cat/0.png', 0), ('test/cat/1.png', 0)]
    config = Config.fromfile('configs_own/ride_own.py')
    assert config.val_dataloader.dataset.ann_file.endswith('/val.txt')
    assert config.test_dataloader.dataset.ann_file.endswith('/test.txt')
    assert 'not split yet, got the parts train, val, test' in refused(
        root, '--test-per-class', 1
    )


def test_without_a_test_part_validation_stands_for_it(here, tmp_path, capsys):
    plain(tmp_path / 'own/train', dict(cat=5, dog=2))
    plain(tmp_path / 'own/val', dict(cat=1, dog=1))
    written(tmp_path / 'own', out='configs_own')
    config = Config.fromfile('configs_own/ride_own.py')
    assert config.test_dataloader.dataset.ann_file.endswith('/val.txt')
    assert 'there is no test part: val is used for it' in capsys.readouterr().out


def test_a_folder_for_training_alone_is_split(here, tmp_path):
    plain(tmp_path / 'own/train', dict(cat=5, dog=2))
    files = written(tmp_path / 'own', out='configs_own')
    assert len(lines(files['test.txt'])) == 2
    assert all(path.startswith('train/') for path, _ in lines(files['train.txt']))


def test_classes_may_be_called_as_parts_are(here, tmp_path):
    plain(tmp_path / 'own', dict(bus=3, car=3, train=3))
    files = written(tmp_path / 'own', out='configs_own')
    assert files['classes.txt'] == 'bus\ncar\ntrain\n'


def test_a_table_names_images_classes_and_parts(here, tmp_path):
    root = plain(tmp_path / 'own', dict(a=6))
    rows = ['File;Species;Set;remark']
    rows += [f'a/{i}.png;"Luchs; grau";train;' for i in range(3)]
    rows += ['a/3.png;Wolf;train;x', 'a/4.png;Wolf;test;', 'a/5.png;Wolf;val;']
    (root / 'labels.csv').write_text('\ufeff' + '\r\n'.join(rows))
    files = written(root, '--table', 'labels.csv', out='configs_own')
    assert files['classes.txt'] == 'Luchs; grau\nWolf\n'
    assert lines(files['train.txt']) == [*((f'a/{i}.png', 0) for i in range(3))] + [
        ('a/3.png', 1)
    ]
    assert lines(files['test.txt']) == [('a/4.png', 1)]
    assert lines(files['val.txt']) == [('a/5.png', 1)]


def test_a_list_is_split(here, tmp_path):
    root = plain(tmp_path / 'own', dict(a=6))
    Path('list.txt').write_text(''.join(f'a/{i}.png {i % 2}\n' for i in range(6)))
    Path('names.txt').write_text('even\nodd\n')
    options = ('--table', 'list.txt', '--classes', 'names.txt')
    files = written(root, *options, out='configs_own')
    assert files['classes.txt'] == 'even\nodd\n'
    assert len(lines(files['train.txt'])) == 4
    assert len(lines(files['test.txt'])) == 2


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        (
            't.csv',
            'file,label\na/0.png,x\n/etc/passwd,y\n',
            't.csv, line 3: expected a',
        ),
        ('t.csv', 'file,label\na/0.png,x\na/no.png,y\n', "'a/no.png': no such file"),
        ('t.csv', 'file,what\na/0.png,x\n', 'column with the label'),
        ('t.csv', 'file,label\na/0.png,x\n', "at least two classes, got one: 'x'"),
        (
            't.csv',
            'file,label,set\na/0.png,x,test\n',
            'expected rows of train, got',
        ),
        (
            't.txt',
            'a/0.png 0\na/1.png 2\n',
            "got none of 1: 'class 1'",
        ),
        ('t.txt', 'a/0.png 0\na/1.png one\n', 't.txt, line 2: expected an integer'),
        ('t.txt', 'a/0.png 0\n../1.png 1\n', 't.txt, line 2: expected a path without'),
    ],
)
def test_bad_tables_are_refused(here, tmp_path, name, content, message):
    root = plain(tmp_path / 'own', dict(a=2))
    Path(name).write_text(content)
    assert message in refused(root, '--table', name)
    assert not Path('configs_own').exists()


def test_folders_of_another_form_are_refused(here, tmp_path):
    assert 'nothing there' in refused(tmp_path / 'absent')
    plain(tmp_path / 'flat', {'.': 2})
    assert '--table FILE' in refused(tmp_path / 'flat')
    plain(tmp_path / 'deep/images', dict(cat=2, dog=2))
    assert f'give {tmp_path}/deep/images' in refused(tmp_path / 'deep')
    plain(tmp_path / 'pairs/train', dict(cat=2, dog=2))
    plain(tmp_path / 'pairs/test', dict(cat=2, dgo=2))
    assert "training images of each class, got none of 'dgo'" in refused(
        tmp_path / 'pairs'
    )
    plain(tmp_path / 'ones', dict(cat=1, dog=1))
    assert 'two images of a class' in refused(tmp_path / 'ones')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--experts', 0], '--experts: expected a number >= 1, got 0'),
        (['--image-size', 8], '--image-size: expected a number >= 16, got 8'),
        (['--test-fraction', 0.7], 'at most 0.5, got 0.7'),
        (['--test-fraction', 0.1, '--test-per-class', 3], 'beside it, got both'),
        (['--seed', -1], '--seed: expected'),
        (['--name', 'Mein Satz'], "'mein_satz' would do"),
        (['--out', "it's"], 'path without "\'"'),
        (['--label-column', 'x'], '--label-column: expected --table'),
        (['--table', 'no.csv'], '--table: expected a file, found none: no.csv nor'),
    ],
)
def test_bad_options_are_refused(here, tmp_path, options, message):
    root = plain(tmp_path / 'own', dict(cat=2, dog=2))
    assert message in refused(root, *options)
    assert list(here.iterdir()) == []


def test_options_are_taken(here, tmp_path):
    root = plain(tmp_path / 'own', dict(cat=9, dog=5))
    options = dict(image_size=128, experts=1, epochs=3, batch_size=4, test_per_class=1)
    flags = [f'--{k.replace("_", "-")}={v}' for k, v in options.items()]
    files = written(root, '--name=x', *flags, out='configs_x')
    assert 'ride_x_router.py' not in files  # A single expert is not routed.
    config = Config.fromfile('configs_x/ride_x.py')
    assert config.image_size == 128
    assert config.model.num_experts == 1
    assert config.model.head.diversity is None
    assert config.train_cfg.max_epochs == 3
    assert config.train_dataloader.batch_size == 4
    assert len(lines(files['test.txt'])) == 2
    with torch.device('meta'):
        MODELS.build(config.model)


def run(command: str) -> subprocess.CompletedProcess:
    return subprocess.run(shlex.split(command), capture_output=True, text=True)


@pytest.mark.slow
def test_from_the_folder_to_routed_predictions(here, photos):
    """The commands that are printed run as they stand."""
    broken = break_some(photos)
    options = ['--skip-unreadable', '--epochs=2', '--image-size=32']
    done = subprocess.run(
        [sys.executable, str(TOOLS / 'new_dataset.py'), str(photos), *options],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    commands = [
        line.strip().replace('python ', f'{shlex.quote(sys.executable)} ', 1)
        for line in done.stdout.splitlines()
        if line.startswith('  python ')
    ]
    assert len(commands) == 6
    for command in commands:
        command = command.replace('IMAGES', f'{shlex.quote(str(photos))} --json p.json')
        if 'train.py' in command and 'router' in command:
            command += ' --epochs 1'
        command = command.replace('router/epoch_20', 'router/epoch_1')
        result = run(command)
        # Those that cannot be read are skipped, which the status tells.
        expected = 1 if 'infer.py' in command else 0
        assert result.returncode == expected, result.stderr[-3000:]
    content = json.loads(Path('p.json').read_text())
    assert len(content['predictions']) == 50  # With the one beside the folders.
    assert {one['pred_class'] for one in content['predictions']} <= set(CLASSES)
    assert all(one['num_experts'] in (1, 2, 3) for one in content['predictions'])
    skipped = {os.path.relpath(one['img_path'], photos) for one in content['skipped']}
    assert skipped == set(broken)
