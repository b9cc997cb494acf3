"""tools/infer.py: it says what a test of the same files says."""

import csv
import json
import os
import re
from pathlib import Path

import mmengine
import numpy as np
import pytest
from digits_runs import TWO
from engine_helpers import REPOSITORY, forget_runs, run_tool
from mmengine.config import Config
from PIL import Image

from ride_mm.cli import infer as program
from ride_mm.cli import test_main as main_of_test
from ride_mm.cli.errors import UsageError
from ride_mm.cli.image_files import IMAGE_SUFFIXES, find_images
from ride_mm.cli.infer_output import (
    lines_of_summary,
    picture_names,
    summarise,
)
from ride_mm.engine.checkpoint_io import load_checkpoint_file, write_atomically
from ride_mm.utils import find_config
from ride_mm.utils.metafile import shipped_weights

CONFIG = """
_base_ = {base!r}
data_preprocessor = dict(
    mean=[100.0, 120.0, 140.0], std=[50.0, 60.0, 70.0], to_rgb=True
)
test_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset',
        data_root={folder!r},
        with_label=True,
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=16, edge='short', backend='pillow'),
            dict(type='CenterCrop', crop_size=16),
            dict(type='PackInputs'),
        ],
    ),
)
test_evaluator = [dict(type='Accuracy')]
# Two folders in place of ten classes.
default_hooks = dict(datasets=None, class_num=None)
"""


@pytest.fixture(autouse=True)
def quick_and_separate_runs(monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')
    forget_runs()


@pytest.fixture
def photos(tmp_path) -> Path:
    """Colour images of several sizes and modes in two folders."""
    stream = np.random.RandomState(0)
    folder = tmp_path / 'photos'
    for c, name in enumerate(('a', 'b')):
        (folder / name).mkdir(parents=True)
        for i in range(5):
            size = 20 + 7 * i, 40 - 3 * i, 3
            image = Image.fromarray(stream.randint(0, 256, size).astype(np.uint8))
            mode = ('RGB', 'L', 'RGBA', 'P', 'RGB')[i]
            suffix = 'jpg' if i == c else 'png'
            image = image.convert('RGB' if suffix == 'jpg' else mode)
            image.save(folder / name / f'{i}.{suffix}')
    (folder / 'a' / 'notes.txt').write_text('no image')
    (folder / 'a' / '.hidden.png').write_bytes(b'no image')
    return folder


@pytest.fixture
def config(photos, tmp_path) -> Path:
    path = tmp_path / 'photos.py'
    base = str(find_config(TWO))
    path.write_text(CONFIG.format(base=base, folder=str(photos)))
    return path


def infer(*argv: object) -> int:
    """Run the tool in this process and return its exit status."""
    forget_runs()
    try:
        program.infer_main([str(arg) for arg in argv])
    except SystemExit as err:
        return err.code
    return 0


def test_a_test_of_the_same_files_agrees(config, photos, stage_two, tmp_path):
    out = tmp_path / 'predictions.pkl'
    main_of_test(
        [str(config), str(stage_two), '--work-dir', str(tmp_path / 'w')]
        + ['--out', str(out), '--cfg-options', 'model.head.thresholds=0.3']
    )
    expected = {sample['img_path']: sample for sample in mmengine.load(out)}
    target = tmp_path / 'infer.json'
    options = '--json', target, '--thresholds', '0.3', '--top-k', 10
    assert infer(config, stage_two, photos, *options) == 0
    got = json.loads(target.read_text())['predictions']
    assert len(expected) == len(got) == 10
    for one in got:
        sample = expected[one['img_path']]
        assert one['pred_label'] == sample['pred_label'].item()
        assert one['num_experts'] == sample['num_experts']
        scores = [k['pred_score'] for k in one['top_k']]
        labels = [k['pred_label'] for k in one['top_k']]
        assert scores == pytest.approx(sample['pred_score'][labels].tolist(), rel=1e-4)


def test_what_is_printed_and_written(config, photos, stage_two, tmp_path, capsys):
    table, target = tmp_path / 'new' / 'o.csv', tmp_path / 'o.json'
    options = '--csv', table, '--json', target, '--top-k', 3, '--thresholds', '0,1'
    assert infer(config, stage_two, photos / 'b', *options) == 0
    content = json.loads(target.read_text())
    predictions = content['predictions']
    assert content['summary']['images'] == 5
    assert content['summary']['mean_experts'] == 2
    assert sum(content['summary']['classes'].values()) == 5
    assert content['skipped'] == [] and content['thresholds'] == [0, 1]
    with open(table, newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['image'] for row in rows] == [one['img_path'] for one in predictions]
    for row, one in zip(rows, predictions, strict=True):
        assert float(row['pred_score']) == one['pred_score']
        assert row['num_experts'] == '2'
        assert row['class_3'] == one['top_k'][2]['pred_class']
        assert 'label_4' not in row
    said = capsys.readouterr().out
    for one in predictions:
        first = f'{one["img_path"]}: {one["pred_class"]} {one["pred_score"]:.4f}, '
        assert first in said
    assert said.count('(2 experts)') == 5
    assert re.search(r'5 images, [\d.,]+ images/s, 2.000 experts on average\n', said)


def test_quiet_and_many_classes_wished(config, photos, stage_two, tmp_path, capsys):
    target = tmp_path / 'o.json'
    options = '--quiet', '--top-k', 99, '--json', target, '--batch-size', 3
    assert infer(config, stage_two, photos, *options, '--workers', 2) == 0
    (first, *_) = json.loads(target.read_text())['predictions']
    assert len(first['top_k']) == 10
    assert str(photos) not in capsys.readouterr().out


def test_the_weights_that_ride_mm_ships(photos, tmp_path, capsys):
    name = 'ride_r20_digitslt_small_router'
    assert infer(name, '-', photos / 'a') == 0
    shipped = capsys.readouterr().out.splitlines()[:5]
    assert infer(name, shipped_weights(name), photos / 'a', '--device', 'auto') == 0
    assert capsys.readouterr().out.splitlines()[:5] == shipped


def test_the_network_is_compiled_on_request(photos, monkeypatch, capsys):
    command = 'ride_r20_digitslt_small_router', '-', photos / 'a', '--device', 'cpu'
    assert infer(*command, '--compile') == 2
    error = capsys.readouterr().err
    assert 'compile: expected a model without routers, got a RouterHead' in error
    compiled = []
    monkeypatch.setattr('ride_mm.apis.inference.compile_for_inference', compiled.append)
    assert infer(*command) == 0 and compiled == []
    plain = capsys.readouterr().out.splitlines()[:5]
    assert infer(*command, '--compile') == 0
    (model,) = compiled
    assert model.routed and not model.training
    assert capsys.readouterr().out.splitlines()[:5] == plain


def test_unreadable_files_are_skipped(config, photos, stage_two, tmp_path, capsys):
    whole = (photos / 'a' / '0.jpg').read_bytes()
    (photos / 'a' / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    target = tmp_path / 'o.json'
    names = photos, tmp_path / 'absent.png', photos / 'a' / 'notes.txt'
    assert infer(config, stage_two, *names, '--json', target) == 1
    skipped = [one['img_path'] for one in json.loads(target.read_text())['skipped']]
    assert [Path(p).name for p in skipped] == ['cut.jpg', 'absent.png', 'notes.txt']
    captured = capsys.readouterr()
    for path in skipped:
        assert f'skipped: {path}: ' in captured.err
    assert '10 images, ' in captured.out and ', 3 files skipped' in captured.out


def test_classes_in_a_file(config, photos, stage_two, tmp_path, capsys):
    names = tmp_path / 'names.txt'
    text = '\r\n'.join(f'Äpfel {c}' for c in range(10))
    names.write_bytes(b'\xef\xbb\xbf' + f'{text}\r\n\r\n'.encode())
    assert program.read_classes(str(names)) == [f'Äpfel {c}' for c in range(10)]
    image = photos / 'a' / '0.jpg'
    for content, message in (
        (text.encode('latin-1'), 'text in UTF-8, got'),
        (b'a\n\nb\n', 'a name in each line, got none in line 2'),
        (b'', 'got none in line 1'),
    ):
        names.write_bytes(content)
        assert infer(config, stage_two, image, '--classes', names) == 2
        error = capsys.readouterr().err
        assert error.startswith('error: --classes: ') and message in error


def test_names_of_files_that_are_no_text(config, photos, stage_two, tmp_path, capsys):
    path = os.fsdecode(os.fsencode(photos) + b'/\xff.png')
    (photos / 'a' / '1.png').rename(path)
    options = '--csv', tmp_path / 'o.csv', '--json', tmp_path / 'o.json'
    assert infer(config, stage_two, path, *options) == 0
    assert f'{photos}/\\udcff.png: ' in capsys.readouterr().out
    with open(tmp_path / 'o.csv', newline='', encoding='utf-8') as file:
        (row,) = csv.DictReader(file)
    assert row['image'] == f'{photos}/\\udcff.png'
    (one,) = json.loads((tmp_path / 'o.json').read_text())['predictions']
    assert one['img_path'] == path


def test_images_that_patterns_pass_over(photos):
    Image.open(photos / 'a' / '1.png').save(photos / 'a' / 'x.gif')
    with pytest.raises(UsageError, match=r'\(\.jpg .*\), got 1 of other names'):
        find_images([f'{photos}/a/*.gif'])
    assert len(find_images([f'{photos}/a/x.gif'])) == 1


def test_no_readable_file(config, stage_two, tmp_path, capsys):
    target = tmp_path / 'o.json'
    assert infer(config, stage_two, tmp_path / 'absent.png', '--json', target) == 2
    assert 'error: expected images that can be read, got 1' in capsys.readouterr().err
    assert not target.exists()


def test_names_of_the_classes(config, photos, stage_two, tmp_path, capsys):
    names = tmp_path / 'names.txt'
    names.write_text('\n'.join(f'$Ziffer_{c}^' for c in range(10)) + '\n')
    image = photos / 'a' / '0.jpg'
    options = '--classes', names, '--draw', tmp_path / 'drawn'
    assert infer(config, stage_two, image, *options) == 0
    assert ': $Ziffer_' in capsys.readouterr().out
    assert len(list((tmp_path / 'drawn').iterdir())) == 1
    names.write_text('too\nfew\n')
    assert infer(config, stage_two, image, '--classes', names) == 2
    assert 'expected 10 names' in capsys.readouterr().err


def test_pictures_do_not_replace_each_other(config, photos, stage_two, tmp_path):
    (photos / 'b' / '1.png').write_bytes((photos / 'a' / '1.png').read_bytes())
    drawn = tmp_path / 'drawn'
    assert infer(config, stage_two, photos, '--draw', drawn) == 0
    pictures = sorted(p.relative_to(drawn).as_posix() for p in drawn.rglob('*.png'))
    images = find_images([str(photos)])
    assert pictures == [f'{Path(p).relative_to(photos).as_posix()}.png' for p in images]
    assert {'b/1.jpg.png', 'b/1.png.png', 'a/1.png.png'} < set(pictures)
    assert min(Image.open(drawn / 'a/1.png.png').size) >= 256
    # The text is drawn on a copy in the upper left corner.
    corner = np.asarray(Image.open(drawn / 'a/0.jpg.png').convert('RGB'))[:20, :60]
    assert (corner > 200).all(axis=-1).any()


def test_images_are_found_once(photos, monkeypatch):
    every = find_images([str(photos)])
    assert len(every) == 10
    assert not [p for p in every if 'notes' in p or 'hidden' in p]
    again = [str(photos / 'a' / '0.jpg'), str(photos), f'{photos}/**/*.*']
    assert find_images(again) == [again[0], *(p for p in every if p != again[0])]
    monkeypatch.chdir(photos)
    assert find_images(['./a/0.jpg', 'a/0.jpg', again[0]]) == ['./a/0.jpg']
    assert len(find_images(['*'])) == 10  # The folders that match are searched.
    assert [Path(p).suffix for p in find_images(['?/*.jpg'])] == ['.jpg', '.jpg']


def test_links_are_followed_but_not_in_a_circle(photos, tmp_path):
    linked = tmp_path / 'linked'
    linked.mkdir()
    (linked / 'data').symlink_to(photos)
    (photos / 'a' / 'back').symlink_to(linked)
    assert len(find_images([str(linked)])) == 10


def test_a_name_with_brackets_is_that_of_a_file(tmp_path):
    path = tmp_path / 'a[1].png'
    path.write_bytes(b'')
    assert find_images([str(path)]) == [str(path)]


def test_suffixes_are_those_of_folder_data_sets():
    folder = Config.fromfile(REPOSITORY / 'configs/_base_/datasets/folder.py')
    assert folder.extensions == IMAGE_SUFFIXES


def test_names_of_pictures():
    names = picture_names(['/d/a/x.png', '/d/b/x.png', '/d/b/x.jpg'], 'out')
    assert list(map(str, names.values())) == [
        'out/a/x.png.png', 'out/b/x.png.png', 'out/b/x.jpg.png'
    ]  # fmt: skip
    assert str(picture_names(['/d/a/x.png'], 'o')['/d/a/x.png']) == 'o/x.png.png'


def test_the_summary_of_many_classes():
    classes = [f'c{i}' for i in range(12) for _ in range(2 if i == 5 else 1)]
    results = [dict(pred_class=c, num_experts=None) for c in classes]
    summary = summarise(results, seconds=2.0)
    assert summary['images_per_second'] == 6.5 and summary['mean_experts'] is None
    lines = lines_of_summary(summary, skipped=1)
    assert lines.startswith('13 images, 6.5 images/s, 1 file skipped\npredicted: c5 2,')
    assert lines.endswith('c9 1, 2 more classes 2')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['EMPTY'], 'expected a folder with images .* got none'),
        (['PHOTOS/*.gif'], 'expected a pattern that matches images .*, got no match'),
        (['PHOTOS', '--csv', 'PHOTOS'], '--csv: expected a file, got the folder'),
        (['PHOTOS', '--csv', 'FILE/x.csv'], '--csv: expected a place to write to'),
        (['PHOTOS', '--draw', 'FILE'], '--draw: expected a folder, got the file'),
        (['PHOTOS', '--draw', 'PHOTOS'], '--draw: expected a folder of its own'),
        (['PHOTOS', '--draw', 'FILE/x'], '--draw: expected a place to write to'),
        (
            ['PHOTOS', '--json', 'PHOTOS/a/0.jpg'],
            '--json: expected a file of its own, got .*0.jpg',
        ),
        (['PHOTOS', '--json', 'o', '--csv', 'o'], 'expected a file of its own, got o'),
        (['PHOTOS', '--top-k', '0'], '--top-k: expected a number >= 1, got 0'),
        (['PHOTOS', '--batch-size', '-1'], '--batch-size: expected a number >= 1'),
        (['PHOTOS', '--workers', '-1'], '--workers: expected a number >= 0, got -1'),
        (['PHOTOS', '--device', 'cuda:99'], '--device: expected one that PyTorch'),
        (
            ['PHOTOS', '--device', 'brain'],
            '--device: expected .*, got brain',
        ),
        (['PHOTOS', '--classes', 'absent'], 'absent: no such file'),
        (['PHOTOS', '--cfg-options', 'modell.x=1'], 'did you mean model'),
    ],
)
def test_errors_before_anything_is_computed(
    photos, stage_two, tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, 'Inferencer', None)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').write_text('')
    for name in ('EMPTY', 'PHOTOS', 'FILE'):
        path = str(tmp_path / name.lower())
        options = [option.replace(name, path) for option in options]
    before = sorted(tmp_path.rglob('*'))
    assert infer(TWO, stage_two, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and re.search(message, error), error
    assert sorted(tmp_path.rglob('*')) == before


def test_errors_of_model_and_checkpoint(photos, stage_one, stage_two, tmp_path, capsys):
    checkpoint = load_checkpoint_file(stage_two)
    broken = {name: tmp_path / f'{name}.pth' for name in ('meta', 'names', 'inf')}
    write_atomically({**checkpoint, 'meta': [1]}, broken['meta'])
    write_atomically({**checkpoint, 'meta': {'dataset_meta': 3}}, broken['names'])
    state = dict(checkpoint['state_dict'])
    key = next(k for k in state if k.endswith('bn1.weight'))
    state[key] = state[key].abs().add(1) / 0
    write_atomically(dict(state_dict=state), broken['inf'])
    unknown = 'http://127.0.0.1:9/x.pth'
    setting = '--cfg-options'
    transform = 'test_dataloader.dataset.pipeline.0.foo=3'
    cases = [
        ((TWO, 'absent.pth', photos), 'expected a checkpoint, got absent.pth'),
        (('ride_r20', stage_two, photos), 'similar names: ride_r20_digitslt'),
        ((TWO, stage_one, photos), 'routers: expected some, got none'),
        (('ride_r32_cifar100lt', '-', photos), 'ships no weights for ride_r32_cifar'),
        ((TWO, stage_two, photos, '--thresholds', '1.5'), 'from 0 to 1, got 1.5'),
        ((TWO, stage_two, photos, '--thresholds', 'x'), "invalid number value: 'x'"),
        ((TWO, broken['meta'], photos), 'expected meta as a dict, got a list'),
        ((TWO, broken['names'], photos), 'meta.dataset_meta as a dict, got a int'),
        ((TWO, broken['inf'], photos), f'{key}: expected finite numbers, got inf'),
        ((TWO, unknown, photos), 'expected an address that a checkpoint can be'),
        ((TWO, stage_two, photos, setting, 'model.foo.bar=3'), "argument 'foo'"),
        ((TWO, stage_two, photos, setting, 'model=3'), 'expected one with model'),
        ((TWO, stage_two, photos, setting, transform), "argument 'foo'"),
        ((TWO, stage_two, photos, setting, 'test_dataloader=3'), 'pipeline, through'),
    ]
    for argv, message in cases:
        assert infer(*argv) == 2
        error = capsys.readouterr().err
        assert message in error and 'Traceback' not in error


def test_the_program(config, photos, stage_two, tmp_path):
    done = run_tool('infer.py', config, stage_two, photos, tmp_path / 'absent.png')
    assert done.returncode == 1, done.stderr
    assert done.stdout.count('expert') >= 10
    assert 'absent.png: no such file' in done.stderr
