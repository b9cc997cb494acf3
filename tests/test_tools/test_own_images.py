"""README's way to train on a folder of one's own images."""

import json
from pathlib import Path

import numpy as np
import pytest
from engine_helpers import forget_runs, run_tool
from PIL import Image

from ride_mm.cli import test_main as main_of_test
from ride_mm.cli import train_main

CONFIG = 'ride_r50_custom'
SIZES = {'Äpfel': 4, 'dark birch': 3, 'rare': 2}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images of several modes and sizes, with names that are not plain."""
    stream = np.random.RandomState(0)
    for part, extra in (('train', 2), ('test', 0)):
        for index, (name, size) in enumerate(SIZES.items()):
            where = tmp_path / 'own data' / part / name
            where.mkdir(parents=True)
            for i in range(size + extra):
                mode = ('RGB', 'L', 'RGBA', 'P')[(index + i) % 4]
                pixels = stream.randint(0, 256, (40 + 9 * i, 50, 3)).astype(np.uint8)
                Image.fromarray(pixels).convert(mode).save(where / f'bild {i}.png')
    (tmp_path / 'own data/train/rare/Thumbs.db').write_bytes(b'no image')
    return tmp_path / 'own data'


def options(folder: Path) -> list[str]:
    """README's options, and some that make it quick."""
    return [
        '--cfg-options',
        'model.head.num_classes=3',
        'model.backbone.depth=10',
        f'data_root={folder}',
        *(
            f'{part}_dataloader.{setting}'
            for part in ('train', 'val', 'test')
            for setting in ('num_workers=0', 'persistent_workers=False', 'batch_size=4')
        ),
        'train_cfg.max_epochs=1',
        'param_scheduler=None',
        'model.head.loss.reweight=None',
        'model.head.diversity.class_factor=None',
        'default_hooks.reweight.reweight_epoch=None',
    ]


def train(folder: Path, work_dir: Path) -> None:
    """Train in this process."""
    forget_runs()
    train_main([CONFIG, '--work-dir', str(work_dir), *options(folder)])


def test_train_and_test(folder, tmp_path):
    work_dir = tmp_path / 'work'
    done = run_tool('train.py', CONFIG, '--work-dir', work_dir, *options(folder))
    assert done.returncode == 0, done.stderr[-2000:]
    result = tmp_path / 'result.json'
    arguments = [CONFIG, str(work_dir / 'epoch_1.pth'), '--work-dir', str(work_dir)]
    forget_runs()
    main_of_test([*arguments, '--json', str(result), *options(folder)])
    metrics = json.loads(result.read_text())['metrics']
    shots = {name for name in metrics if name.startswith('shot_accuracy/')}
    assert shots == {f'shot_accuracy/{name}' for name in ('all', 'class_mean', 'few')}


@pytest.mark.parametrize('part', ['train', 'test'])
def test_a_broken_file_is_named_before_training(part, folder, tmp_path, capsys):
    (folder / part / 'rare' / 'broken.png').write_bytes(b'\x89PNG no more')
    with pytest.raises(SystemExit, match='broken.png'):
        train(folder, tmp_path / 'work')
    assert 'Epoch(train)' not in ''.join(capsys.readouterr())


def test_a_renamed_test_folder_is_refused(folder, tmp_path):
    (folder / 'test' / 'rare').rename(folder / 'test' / 'Aardvark')
    with pytest.raises(SystemExit, match='in one of them only: Aardvark, rare'):
        train(folder, tmp_path / 'work')
