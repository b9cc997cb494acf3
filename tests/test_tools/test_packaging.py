import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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


def test_an_unpacked_wheel_finds_its_configs(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        'from ride_mm.utils import find_config, resource_root\n'
        'print(resource_root())\n'
        "print(find_config('ride_r20_digitslt'))\n"
    )
    paths = [str(tmp_path), os.environ.get('PYTHONPATH', '')]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    result = subprocess.run(
        [sys.executable, '-c', code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    root = tmp_path / 'ride_mm' / '.mim'
    assert result.stdout.splitlines()[-2:] == [
        str(root),
        str(root / 'configs' / 'ride' / 'ride_r20_digitslt.py'),
    ]


def test_an_editable_install_adds_nothing_to_the_tree(tree, tmp_path):
    before = names_below(tree)
    wheel = build(tree, 'build_editable', tmp_path)
    assert wheel.suffix == '.whl'
    added = {name.split('/')[0] for name in names_below(tree) - before}
    assert added <= {'ride_mm.egg-info', 'build'}
    assert not (tree / 'ride_mm' / '.mim').exists()
