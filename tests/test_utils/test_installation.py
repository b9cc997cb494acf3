import os
import subprocess
import sys
from pathlib import Path

import pytest

import ride_mm
from ride_mm.utils import check_installation, installation
from ride_mm.utils.installation import BROKEN, UNKNOWN, find_fault, installed_versions
from ride_mm.utils.stacks import STACKS

ROOT = Path(ride_mm.__file__).parents[1]
CLASSIC = {'mmengine': '0.10.7', 'mmcv-lite': '2.2.0', 'mmpretrain': '1.2.0'}
FORK = {
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmpretrain': '1.3.6',
}
TORCH = {'torch': '2.6.0+cpu'}
INSTALL_CLASSIC = (
    "pip install mmengine==0.10.7 mmcv-lite==2.2.0 mmpretrain==1.2.0 'setuptools<82'"
)
INSTALL_FORK = (
    'pip install onedl-mmengine==0.10.12 onedl-mmcv==2.3.6 onedl-mmpretrain==1.3.6 '
    'opencv-python'
)


def without(versions, name):
    return {key: value for key, value in versions.items() if key != name}


@pytest.mark.parametrize(
    'installed',
    [
        {**CLASSIC, **TORCH},
        {**FORK, **TORCH},
        {**without(CLASSIC, 'mmcv-lite'), 'mmcv': '2.1.0', **TORCH},
        {**without(CLASSIC, 'mmpretrain'), 'mmpretrain': UNKNOWN, **TORCH},
        {**CLASSIC, 'torch': '2.15.0'},
        {**CLASSIC, 'torch': UNKNOWN},
    ],
)
def test_versions_that_fit(installed):
    assert find_fault(installed) is None


@pytest.mark.parametrize(
    ('installed', 'expected', 'found', 'command'),
    [
        (TORCH, 'mmengine', 'none of its packages', INSTALL_CLASSIC),
        (
            {**without(CLASSIC, 'mmengine'), **TORCH},
            'mmengine',
            'mmcv-lite 2.2.0, mmpretrain 1.2.0',
            INSTALL_CLASSIC,
        ),
        (
            {**without(CLASSIC, 'mmcv-lite'), **TORCH},
            'mmcv',
            'mmengine 0.10.7, mmpretrain 1.2.0',
            INSTALL_CLASSIC,
        ),
        (
            {**without(FORK, 'onedl-mmpretrain'), **TORCH},
            'mmpretrain',
            'onedl-mmengine 0.10.12, onedl-mmcv 2.3.6',
            INSTALL_FORK,
        ),
        (
            {**CLASSIC, 'onedl-mmcv': '2.3.6', **TORCH},
            'onedl-* fork',
            'onedl-mmcv 2.3.6',
            'pip uninstall -y mmengine mmcv-lite onedl-mmcv mmpretrain && '
            + INSTALL_CLASSIC,
        ),
        (
            {**CLASSIC, 'mmcv': '2.2.0', **TORCH},
            'one package that provides mmcv',
            'mmcv 2.2.0, mmcv-lite 2.2.0',
            f'pip uninstall -y mmcv mmcv-lite && {INSTALL_CLASSIC}',
        ),
        (
            {**without(CLASSIC, 'mmcv-lite'), 'mmcv-full': '1.7.2', **TORCH},
            'mmcv>=2.0.0,<2.4.0',
            'mmcv-full 1.7.2',
            f'pip uninstall -y mmengine mmcv-full mmpretrain && {INSTALL_CLASSIC}',
        ),
        (
            {**FORK, 'onedl-mmcv': '2.4.0', **TORCH},
            'mmcv>=2.0.0,<2.4.0',
            'onedl-mmcv 2.4.0',
            'pip uninstall -y onedl-mmengine onedl-mmcv onedl-mmpretrain && '
            + INSTALL_FORK,
        ),
        (
            {**CLASSIC, 'mmengine': '1.0.0rc1', **TORCH},
            'mmengine>=0.8.3,<1.0.0',
            'mmengine 1.0.0rc1',
            f'pip uninstall -y mmengine mmcv-lite mmpretrain && {INSTALL_CLASSIC}',
        ),
        (
            {**CLASSIC, 'mmpretrain': BROKEN, **TORCH},
            'mmpretrain>=1.2.0,<2.0.0',
            'mmpretrain without its files',
            f'pip uninstall -y mmengine mmcv-lite mmpretrain && {INSTALL_CLASSIC}',
        ),
        (
            {**CLASSIC, 'torch': '2.5.1+cu121'},
            'torch>=2.6',
            'torch 2.5.1+cu121',
            'pip install --upgrade "torch>=2.6" torchvision',
        ),
        (CLASSIC, 'torch>=2.6', 'no torch', 'pip install --upgrade "torch>=2.6"'),
    ],
)
def test_each_fault_names_its_cure(installed, expected, found, command):
    message = find_fault(installed)
    lines = message.splitlines()
    assert [line[:12].strip() for line in lines[1:]] == [
        'expected:',
        'found:',
        'to mend:',
    ]
    assert expected in lines[1]
    assert found in lines[2]
    assert command in lines[3]


def test_commands_use_the_versions_of_the_extras():
    assert all(pin in INSTALL_CLASSIC for pin in STACKS['openmmlab'])
    assert all(pin in INSTALL_FORK for pin in STACKS['onedl'])


def test_this_environment_is_sound():
    assert find_fault(installed_versions()) is None
    check_installation()


def test_a_module_without_its_files_is_reported(monkeypatch):
    monkeypatch.setattr(installation.importlib.util, 'find_spec', lambda name: None)
    assert set(installed_versions().values()) == {BROKEN}


def test_a_module_without_a_record_is_accepted(monkeypatch):
    monkeypatch.setattr(installation, '_version', lambda name: None)
    versions = installed_versions()
    assert set(versions) == {'mmengine', 'mmcv', 'mmpretrain', 'torch'}
    assert find_fault(versions) is None


def test_multimodal_models_that_fail_are_named(monkeypatch):
    versions = {'transformers': '5.0.0', 'pycocotools': '2.0.8'}
    monkeypatch.setattr(installation, '_version', versions.get)

    def fail(name):
        if name == 'mmpretrain.models':
            raise TypeError('NoneType takes no arguments')

    monkeypatch.setattr(installation.importlib, 'import_module', fail)
    message = installation.find_import_fault()
    assert 'TypeError: NoneType takes no arguments' in message
    assert 'transformers 5.0.0, pycocotools 2.0.8' in message
    assert message.endswith('pip uninstall -y pycocotools')


def test_a_torchvision_that_does_not_match_gives_one_error(tmp_path):
    package = tmp_path / 'torchvision'
    package.mkdir()
    (package / '__init__.py').write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    paths = [str(tmp_path), str(ROOT), os.environ.get('PYTHONPATH', '')]
    result = subprocess.run(
        [sys.executable, '-c', 'import ride_mm'],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.count('Traceback') == 1
    assert 'ImportError: ride_mm cannot be used' in result.stderr
    assert 'RuntimeError: operator torchvision::nms does not exist' in result.stderr
    assert result.stderr.rstrip().endswith(
        'pip uninstall -y torch torchvision && pip install torch torchvision'
    )
