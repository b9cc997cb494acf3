"""``tools/misc/verify_dataset.py`` from the command line."""

import json
import shutil

import numpy as np
import pytest
from engine_helpers import run_tool
from PIL import Image

from ride_mm.cli.misc.verify_dataset import verify_dataset_main

CONFIG = """
test = dict(
    type='CustomDataset', data_root={root!r}, data_prefix='test', pipeline=[],
    test_mode=True,
)
train_dataloader = dict(
    dataset=dict(
        type='LongTailed',
        dataset=dict(
            type='CustomDataset', data_root={root!r}, data_prefix='train', pipeline=[]
        ),
    ),
)
val_dataloader = dict(dataset=test)
test_dataloader = dict(dataset=test)
"""


@pytest.fixture
def config(tmp_path):
    """A config of a folder of good images, some of whose names are not ASCII."""
    random = np.random.RandomState(0)
    for part, number in (('train', 6), ('test', 2)):
        for name in ('größe 1', 'rare'):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for i in range(number if name != 'rare' else 2):
                pixels = random.randint(0, 256, (9, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f'{i} a.png')
    path = tmp_path / 'mine.py'
    path.write_text(CONFIG.format(root=str(tmp_path)))
    return path


def verify(config, *options):
    """Status of the tool, run in this process."""
    work_dir = f'work_dir={config.parent / "out"}'
    try:
        verify_dataset_main([str(config), *options, '--cfg-options', work_dir])
    except SystemExit as err:
        return err.code
    return 0


def test_good_images(config, capsys):
    report = config.parent / 'report.json'
    assert verify(config, '--json', str(report)) == 0
    out = capsys.readouterr().out
    assert 'train: 8 images, 2 classes with 6..2, imbalance factor 3, ' in out
    assert 'val, test: 4 images, 2 classes with 2..2\n' in out
    assert 'Looked at 12 images.' in out
    assert out.endswith('Nothing is wrong.\n')
    assert Image.open(config.parent / 'out/class_counts.png').format == 'PNG'
    content = json.loads(report.read_text())
    assert content['good'] and content['findings'] == []
    assert content['sets']['train'] == dict(
        images=8,
        class_counts={'größe 1': 6, 'rare': 2},
        imbalance_factor=3.0,
        shot_groups=dict(many=[], medium=[], few=['größe 1', 'rare']),
    )


def test_what_is_wrong_is_named_and_may_be_ignored(config, capsys):
    train = config.parent / 'train'
    (train / 'rare/empty.png').touch()
    for i in range(4):
        shutil.copy(train / 'größe 1/1 a.png', train / f'größe 1/copy {i}.png')
        shutil.copy(
            train / f'größe 1/{i + 2} a.png', config.parent / f'test/rare/{i}.png'
        )
    (train / 'void').mkdir()
    report = config.parent / 'report.json'
    options = '--no-plot', '--json', str(report), '--named', '1'
    assert verify(config, *options) == 1
    out = capsys.readouterr().out
    assert f'empty: empty files (1)\n  train: {train}/rare/empty.png' in out
    assert 'untrained: classes without a training image (1)\n  train: void (2)' in out
    assert 'overlap: images that occur in two sets (4)\n' in out
    assert '  and 3 more\n' in out
    assert 'only in one of them: void' in out
    assert out.endswith('Something is wrong.\n')
    content = json.loads(report.read_text())
    numbers = dict(classes=1, empty=1, duplicate=1, overlap=4, untrained=1)
    assert content['numbers'] == numbers
    assert not content['good']
    assert not (config.parent / 'out').exists()
    assert verify(config, *options, '--ignore', *numbers) == 0
    assert '(4, ignored)' in capsys.readouterr().out


def test_sets_that_cannot_be_read_are_named(config, capsys):
    shutil.rmtree(config.parent / 'test')
    assert verify(config) == 1
    out = capsys.readouterr().out
    assert 'set: sets that cannot be read' in out
    assert (
        f"  val, test: [Errno 2] No such file or directory: '{config.parent}/t" in out
    )
    assert 'train: 8 images' in out


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--threads', '0'], '--threads: expected a number >= 1, got 0'),
        (['--named', '-1'], '--named: expected a number >= 0, got -1'),
        (['--json', '/'], '--json: expected a file, got the folder /'),
    ],
)
def test_bad_options_are_refused(config, capsys, options, message):
    assert verify(config, *options) == 2
    assert capsys.readouterr().err == f'error: {message}\n'


def test_a_config_without_data(tmp_path, capsys):
    (tmp_path / 'no.py').write_text('model = dict()')
    assert verify(tmp_path / 'no.py') == 2
    assert 'expected a config with data sets' in capsys.readouterr().err


def test_the_program(tmp_path):
    done = run_tool('misc/verify_dataset.py', 'ride_r20_digitslt', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'Looked at 699 images.' in done.stdout
    assert (tmp_path / 'work_dirs/ride_r20_digitslt/class_counts.png').is_file()
