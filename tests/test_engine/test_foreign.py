"""Foreign checkpoints: the weights come out, and nothing of the file acts."""

import copyreg
import datetime
import io
import logging
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import types
from collections import Counter, OrderedDict, defaultdict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from official_cases import save_as_authors

from ride_mm.engine.checkpoint_io import (
    CheckpointError,
    DamagedCheckpointError,
    load_checkpoint_file,
    load_foreign_checkpoint,
)
from ride_mm.engine.checkpoint_io.inert_pickle import DTYPES, Inert, InertUnpickler

WEIGHTS = {
    'a.weight': torch.arange(12.0).reshape(3, 4),
    'a.count': torch.tensor(5),
    'b.half': torch.ones(2, dtype=torch.float16),
    'b.empty': torch.empty(0, 3),
    'c.part': torch.arange(10.0)[2:8:2],
    'c.turned': torch.arange(6).reshape(2, 3).T,
}
Point = namedtuple('Point', 'x y')


class Colour(dict):
    """A dictionary of its own kind, with attributes."""


class Ordered(list):
    """A list of its own kind."""


class Slots:
    __slots__ = ('value',)


def function_of_the_package() -> None:
    """Pickled by name."""


class Reduced:
    """Pickles as a call of a function."""

    def __init__(self, function, *args) -> None:
        self.reduced = function, args

    def __reduce__(self) -> tuple:
        return self.reduced


def save(content: object, path: Path, legacy: bool = False, protocol: int = 2) -> Path:
    torch.save(
        content,
        path,
        _use_new_zipfile_serialization=not legacy,
        pickle_protocol=protocol,
    )
    return path


def assert_weights(loaded: dict, expected: dict = WEIGHTS) -> None:
    assert list(loaded) == list(expected)
    for name, tensor in expected.items():
        assert type(loaded[name]) is torch.Tensor
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert torch.equal(loaded[name], tensor), name


formats = pytest.mark.parametrize('legacy', [False, True])


@formats
def test_the_authors_format(tmp_path, legacy):
    path = save_as_authors(tmp_path / 'official.pth', WEIGHTS, legacy)
    assert 'parse_config' not in sys.modules
    with pytest.raises(CheckpointError, match='numpy') as err:
        load_checkpoint_file(path)
    assert str(err.value).endswith(
        "If it is of the code of RIDE's authors: python tools/model_converters/"
        f'official_to_ride_mm.py {path} TARGET.pth'
    )
    loaded = load_foreign_checkpoint(path)
    assert_weights(loaded.state_dict)
    assert (loaded.arch, loaded.epoch) == ('TestNetModel', 7)
    assert vars(loaded).keys() == {'state_dict', 'arch', 'epoch'}
    assert 'parse_config' not in sys.modules


@pytest.mark.parametrize('module', ['parse_config', 'other_config'])
@formats
def test_only_the_authors_files_are_sent_to_the_converter(
    tmp_path, monkeypatch, legacy, module
):
    package = types.ModuleType(module)
    package.ConfigParser = type('ConfigParser', (), {'__module__': module})
    monkeypatch.setitem(sys.modules, module, package)
    content = {'state_dict': WEIGHTS, 'config': package.ConfigParser()}
    path = save(content, tmp_path / 'a.pth', legacy)
    monkeypatch.delitem(sys.modules, module)
    with pytest.raises(CheckpointError, match=rf'{module}\.ConfigParser') as err:
        load_checkpoint_file(path)
    theirs = module == 'parse_config'
    assert ('official_to_ride_mm.py' in str(err.value)) == theirs
    assert ('a file with the weights alone' in str(err.value)) != theirs


@formats
def test_a_bare_state_dict_has_no_facts(tmp_path, legacy):
    loaded = load_foreign_checkpoint(save(WEIGHTS, tmp_path / 'a.pth', legacy))
    assert_weights(loaded.state_dict)
    assert loaded.arch is loaded.epoch is None


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@formats
def test_all_kinds_of_objects_beside_the_weights(tmp_path, legacy, protocol):
    slots = Slots()
    slots.value = 3
    colour = Colour(red=1)
    colour.name = 'colour'
    recursive: list = []
    recursive.append((recursive,))
    content = {
        'state_dict': WEIGHTS,
        'arch': Colour,  # Not a text.
        'epoch': np.int64(3),  # Not a plain number.
        'config': [
            pathlib.PurePosixPath('a/b'),
            OrderedDict(a=1),
            Counter('aab'),
            defaultdict(list, a=[1]),
            logging.getLogger('x'),
            logging.INFO,
            datetime.datetime(2020, 1, 2, 3, 4),
            np.float64(1.5),
            np.arange(3),
            np.random.RandomState(0),
            function_of_the_package,
            np.mean,
            Point(1, 2),
            {1, 2},
            frozenset([3]),
            slice(1, 2),
            2**100,
            b'bytes',
            'Ä',
            1j,
            range(3),
            Ellipsis,
            colour,
            Ordered([1, 2, 3]),
            slots,
            recursive,
            torch.float16,
            torch.device('cpu'),
            torch.Size([1]),
        ],
        'criterion': torch.nn.CrossEntropyLoss(weight=torch.ones(3)),
        'optimizer': {'params': [torch.nn.Parameter(torch.ones(2))]},
    }
    path = save(content, tmp_path / 'a.pth', legacy, protocol)
    loaded = load_foreign_checkpoint(path)
    assert_weights(loaded.state_dict)
    assert loaded.arch is loaded.epoch is None


@pytest.mark.parametrize('name', DTYPES)
@formats
def test_all_types_of_numbers(tmp_path, legacy, name):
    weights = {'x': torch.tensor([[0, 1], [1, 0]]).to(DTYPES[name])}
    loaded = load_foreign_checkpoint(save(weights, tmp_path / 'a.pth', legacy))
    assert_weights(loaded.state_dict, weights)


def test_parameters_and_shared_storages(tmp_path):
    whole = torch.arange(6.0)
    weights = {'whole': torch.nn.Parameter(whole), 'part': whole[2:4]}
    loaded = load_foreign_checkpoint(save(weights, tmp_path / 'a.pth')).state_dict
    assert_weights(loaded, {'whole': whole, 'part': whole[2:4]})
    loaded['part'].zero_()
    assert loaded['whole'].tolist() == [0, 1, 0, 0, 4, 5]


# What a hostile file may ask for. Each would leave a trace: a file, or a module.
HOSTILE = {
    'os.system': lambda trace: Reduced(os.system, f'touch {trace}'),
    'subprocess': lambda trace: Reduced(subprocess.check_output, ['touch', str(trace)]),
    'eval': lambda trace: Reduced(eval, f"open({str(trace)!r}, 'w')"),
    'exec': lambda trace: Reduced(exec, f"open({str(trace)!r}, 'w')"),
    'open': lambda trace: Reduced(open, str(trace), 'w'),
    'path': lambda trace: Reduced(pathlib.Path.touch, pathlib.Path(trace)),
    'torch.save': lambda trace: Reduced(torch.save, 1, str(trace)),
    'chain': lambda trace: Reduced(
        pickle.loads, pickle.dumps(Reduced(os.mkdir, str(trace)))
    ),
    'import': lambda trace: Reduced(__import__, 'canary_of_ride_mm'),
}


@pytest.mark.parametrize('where', ['inside', 'beside', 'instead', 'as name'])
@pytest.mark.parametrize('what', HOSTILE)
@formats
def test_a_hostile_file_executes_nothing(tmp_path, legacy, what, where):
    trace = tmp_path / 'trace'
    hostile = HOSTILE[what](trace)
    content = {
        'inside': {'state_dict': {**WEIGHTS, 'x': hostile}},
        'beside': {'state_dict': WEIGHTS, 'config': hostile},
        'instead': hostile,
        'as name': {'state_dict': {**WEIGHTS, hostile: torch.ones(1)}},
    }[where]
    path = save(content, tmp_path / 'a.pth', legacy)
    if where == 'beside':
        assert_weights(load_foreign_checkpoint(path).state_dict)
    else:
        with pytest.raises(CheckpointError, match='expected tensors by name'):
            load_foreign_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize('what', [k for k in HOSTILE if k not in ('import', 'path')])
def test_the_hostile_objects_are_hostile(tmp_path, what):
    """So that the test above tests something."""
    trace = tmp_path / 'trace'
    pickle.loads(pickle.dumps(HOSTILE[what](trace)))
    assert trace.exists()


def test_no_module_of_the_file_is_imported(tmp_path, monkeypatch):
    trace = tmp_path / 'trace'
    (tmp_path / 'canary_of_ride_mm.py').write_text(
        f'open({str(trace)!r}, "w").close()\n\n\nclass Class:\n    pass\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    fake = types.ModuleType('canary_of_ride_mm')
    fake.Class = type('Class', (), {'__module__': 'canary_of_ride_mm'})
    monkeypatch.setitem(sys.modules, 'canary_of_ride_mm', fake)
    content = {'state_dict': WEIGHTS, 'config': [fake.Class(), fake.Class]}
    path = save(content, tmp_path / 'a.pth')
    data = pickle.dumps(fake.Class())
    monkeypatch.delitem(sys.modules, 'canary_of_ride_mm')
    before = set(sys.modules)
    assert_weights(load_foreign_checkpoint(path).state_dict)
    assert set(sys.modules) == before and not trace.exists()
    pickle.loads(data)
    assert trace.exists()  # Python's own reader does import it.
    del sys.modules['canary_of_ride_mm']


# Pickles that no pickler writes.
WRITTEN_BY_HAND = {
    'attributes of a module': b'cbuiltins\ngetattr\n(cos\n__dict__\nVmkdir\ntR.',
    'a chain of calls': b'cos\nsystem\n(Vx\ntR(Vx\ntR(Vx\ntR.',
    'a new object': b'cos\nPathLike\n(t\x81.',
    'an old instance': b'(Vx\nios\nsystem\n.',
    'state of a class': b'cos\nsystem\n(N(dV__call__\nI1\nstb.',
    'items': b'cos\nenviron\n(VPATH\nVx\nu.',
    'members': b'cos\nx\n(I1\ne.',
    'a qualified name': b'\x80\x04\x8c\x02os\x8c\x11environ.__class__\x93.',
    'the reader itself': b'cride_mm.engine.checkpoint_io.inert_pickle\n_CALLS\n'
    b'(V_rebuild_tensor\nI1\nu.',
}


@pytest.mark.parametrize('what', WRITTEN_BY_HAND)
def test_whatever_is_asked_for_is_the_stand_in(what):
    environment = dict(os.environ)
    reader = InertUnpickler(io.BytesIO(WRITTEN_BY_HAND[what]))
    assert reader.load() is Inert
    assert dict(os.environ) == environment
    assert not [name for name in vars(Inert) if not name.startswith('__')]


@pytest.mark.parametrize(
    'data',
    [
        b'ctorch._utils\n_rebuild_tensor\n(N(dV_function\nI1\nstb.',
        b'ctorch._utils\n_rebuild_tensor\n(dV_function\nI1\nsb.',
        b'ctorch\nFloatStorage\n(N(dVdtype\nI1\nstb.',
        b'ccollections\nOrderedDict\n(N(dVitems\nI1\nstb.',
        b'ccollections\nOrderedDict\n(dVitems\nI1\nsb.',
        b'ctorch._utils\n_rebuild_tensor\n(VaI0\n((tR.',
        b'ctorch._utils\n_rebuild_tensor\n(cos\nx\nI0\n((ttR.',
        b'(Vmodel\nVx\ntQ.',
        b'Vstorage\nQ.',
        b'((tQ.',
    ],
)
def test_the_known_names_cannot_be_changed_or_misused(data):
    with pytest.raises(Exception) as err:
        InertUnpickler(io.BytesIO(data)).load()
    assert not isinstance(err.value, (SystemExit, MemoryError))
    reader = InertUnpickler(io.BytesIO(b'ccollections\nOrderedDict\n(t(tR.'))
    assert reader.find_class('collections', 'OrderedDict') is OrderedDict
    assert reader.find_class('torch._utils', '_rebuild_parameter')(1, 2) == 1


def test_registered_extensions_are_not_looked_up():
    copyreg.add_extension('os', 'system', 0xF0)
    try:
        assert InertUnpickler(io.BytesIO(b'\x82\xf0.')).load() is Inert
    finally:
        copyreg.remove_extension('os', 'system', 0xF0)
        copyreg.clear_extension_cache()


@pytest.mark.parametrize('fraction', [0.0, 0.001, 0.1, 0.5, 0.9, 0.99])
@formats
def test_a_truncated_file(tmp_path, legacy, fraction):
    weights = {'x': torch.randn(1000), 'y': torch.randn(1000)}
    path = save_as_authors(tmp_path / 'cut.pth', weights, legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(DamagedCheckpointError, match=r'cut\.pth.*truncated') as err:
        load_foreign_checkpoint(path)
    assert f'{path.stat().st_size:,} bytes' in str(err.value)


def test_any_cut_of_a_legacy_file_is_a_clear_error(tmp_path):
    content = save({'x': torch.ones(3)}, tmp_path / 'a.pth', legacy=True).read_bytes()
    for length in range(len(content)):
        (tmp_path / 'cut.pth').write_bytes(content[:length])
        with pytest.raises(DamagedCheckpointError):
            load_foreign_checkpoint(tmp_path / 'cut.pth')


def test_flipped_bits_are_noticed(tmp_path):
    path = save({'x': torch.arange(4096.0)}, tmp_path / 'a.pth')
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack('<f', 4000.0))] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match='CRC'):
        load_foreign_checkpoint(path)


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path):
    path = save({'x': torch.ones(7, 3)}, tmp_path / 'a.pth', legacy=True)
    size = b'K\x07K\x03\x86'
    content = path.read_bytes()
    assert content.count(size) == 1
    path.write_bytes(content.replace(size, b'K\x7fK\x03\x86'))
    with pytest.raises(DamagedCheckpointError, match='out of bounds'):
        load_foreign_checkpoint(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({}, 'got an empty one'),
        ([torch.ones(1)], 'got list'),
        (torch.ones(1), 'got another object'),
        ({'state_dict': [1]}, 'got list'),
        ({'state_dict': {}}, 'got an empty one'),
        ({'model': {'x': torch.ones(1)}}, "got dict named 'model'"),
        ({'state_dict': {'x': 1.0}}, "got float named 'x'"),
        ({'state_dict': {'x': pathlib.PurePath()}}, "got another object named 'x'"),
        ({'state_dict': {0: torch.ones(1)}}, 'got another object named 0'),
    ],
)
@formats
def test_a_file_without_weights(tmp_path, legacy, content, message):
    path = save(content, tmp_path / 'other.pth', legacy)
    with pytest.raises(CheckpointError, match=rf'other\.pth: expected .*{message}'):
        load_foreign_checkpoint(path)


@pytest.mark.parametrize('data', [b'PK\x03\x04', b'text', pickle.dumps({'a': 1}, 2)])
def test_a_file_that_is_no_checkpoint(tmp_path, data):
    (tmp_path / 'other.pth').write_bytes(data)
    with pytest.raises(DamagedCheckpointError, match='no checkpoint'):
        load_foreign_checkpoint(tmp_path / 'other.pth')


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='got nothing'):
        load_foreign_checkpoint(tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match='got a folder'):
        load_foreign_checkpoint(tmp_path)
