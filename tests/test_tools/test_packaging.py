import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ride_mm.utils.metafile import known_accuracy, model_entries

SMALL = 'ride_r20_digitslt_small_router'
ROOT = Path(__file__).parents[2]


# Run beside an unpacked wheel.
USE = f"""
import json
import ride_mm
from mmpretrain import ModelHub, get_model, list_models
from mmpretrain.registry import DATASETS
from ride_mm.utils import find_config, resource_root

model = get_model({SMALL!r}, pretrained=True)
dataset = DATASETS.build(model._config.test_dataloader.dataset)
items = [dataset[i] for i in range(len(dataset))]
batch = {{key: [item[key] for item in items] for key in items[0]}}
labels = dataset.get_gt_labels()
right = [int(s.pred_label) for s in model.test_step(batch)] == labels
print(json.dumps({{
    'root': str(resource_root()),
    'config': str(find_config('ride_r20_digitslt')),
    'names': list_models('ride*'),
    'weights': ModelHub.get({SMALL!r}).weights,
    'accuracy': 100 * float(right.mean()),
}}))
"""


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    """A copy of what a build reads, so that the repository stays clean."""
    tree = tmp_path_factory.mktemp('a repository') / 'ride_mm'
    tree.mkdir()
    for name in ('ride_mm', 'configs', 'tools'):
        ignored = shutil.ignore_patterns('__pycache__')
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    files = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'model-index.yml')
    for name in (*files, 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, tree / name)
    return tree


def build(tree, hook, target):
    """Call a PEP 517 hook of setuptools as pip does, without an isolated build."""
    code = f'from setuptools import build_meta; build_meta.{hook}({str(target)!r})'
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=tree, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope='module')
def wheel(tree, tmp_path_factory):
    return build(tree, 'build_wheel', tmp_path_factory.mktemp('wheel'))


def names_below(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_a_wheel_holds_the_package_and_its_resources(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if '.dist-info/' not in name}
    expected = {f'ride_mm/{name}' for name in names_below(ROOT / 'ride_mm')}
    for folder in ('configs', 'tools'):
        expected |= {
            f'ride_mm/.mim/{folder}/{name}' for name in names_below(ROOT / folder)
        }
    expected.add('ride_mm/.mim/model-index.yml')
    assert names == expected


def test_a_source_distribution_holds_the_weights_and_resources(tree, tmp_path):
    sdist = build(tree, 'build_sdist', tmp_path)
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert model_entries()[SMALL]['Weights'] in names
    for folder in ('configs', 'tools', 'ride_mm'):
        assert {f'{folder}/{name}' for name in names_below(ROOT / folder)} <= names
    assert 'model-index.yml' in names


def test_a_wheel_requires_no_stack(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (n for n in archive.namelist() if n.endswith('/METADATA'))
        lines = archive.read(metadata).decode().splitlines()
    required = [line for line in lines if line.startswith('Requires-Dist:')]
    always = [line for line in required if 'extra ==' not in line]
    assert len(always) == 4
    assert not any('mm' in line for line in always)
    assert any('mmcv-lite==2.2.0; extra == "openmmlab"' in line for line in required)
    assert any('onedl-mmcv==2.3.6; extra == "onedl"' in line for line in required)


def test_an_unpacked_wheel_finds_its_configs_and_models(wheel, tmp_path):
    pytest.importorskip('sklearn')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / 'site')
    paths = [str(tmp_path / 'site'), os.environ.get('PYTHONPATH', '')]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    (tmp_path / 'elsewhere').mkdir()
    result = subprocess.run(
        [sys.executable, '-c', USE],
        env=environment,
        cwd=tmp_path / 'elsewhere',
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    got = json.loads(result.stdout.splitlines()[-1])
    root = tmp_path / 'site' / 'ride_mm' / '.mim'
    assert got['root'] == str(root)
    assert got['config'] == str(root / 'configs' / 'ride' / 'ride_r20_digitslt.py')
    assert got['names'] == sorted(n for n in model_entries() if n.startswith('ride'))
    weights = tmp_path / 'site' / model_entries()[SMALL]['Weights']
    assert got['weights'] == str(weights)
    # But for an image or two of 300: other machines sum in another order.
    assert got['accuracy'] == pytest.approx(
        known_accuracy(SMALL, 'measured')['all'], abs=0.7
    )


def test_an_editable_install_adds_nothing_to_the_tree(tree, tmp_path):
    before = names_below(tree)
    wheel = build(tree, 'build_editable', tmp_path)
    assert wheel.suffix == '.whl'
    added = {name.split('/')[0] for name in names_below(tree) - before}
    assert added <= {'ride_mm.egg-info', 'build'}
    assert not (tree / 'ride_mm' / '.mim').exists()
