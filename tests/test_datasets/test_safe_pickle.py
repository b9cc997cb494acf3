import os
import pickle
import subprocess

import numpy as np
import pytest

from ride_mm.datasets.safe_pickle import load_plain

ENTRY = {
    'data': np.arange(12, dtype=np.uint8).reshape(3, 4),
    'fine_labels': [1, 2, 3],
    'labels': [np.int64(7), np.int32(8)],
    'floats': np.array([[0.5, -1.0]], dtype='>f4'),
    'fortran': np.asfortranarray(np.arange(6).reshape(2, 3)),
    'filenames': ['a.png', 'b.png'],
    'batch_label': b'training batch 1 of 5',
    'nothing': b'',
    'flag': True,
}
# What Python 2 wrote: {'data': array([[1, 200]], uint8), 'labels': [3]} by cPickle.
PYTHON_2 = (
    b'\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\n'
    b'ndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x06'
    b'U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00'
    b'tb\x89U\x02\x01\xc8tbU\x06labels]q\x08K\x03au.'
)


class Reduced:
    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_what_numpy_and_python_write(protocol):
    loaded = load_plain(pickle.dumps(ENTRY, protocol), 'file')
    assert list(loaded) == list(ENTRY)
    for key, value in ENTRY.items():
        np.testing.assert_array_equal(loaded[key], value)
        assert type(loaded[key]) is type(value)
    assert loaded['data'].dtype == np.uint8
    assert loaded['floats'].dtype == ENTRY['floats'].dtype
    assert loaded['data'].flags.writeable


@pytest.mark.parametrize('core', [b'numpy.core', b'numpy._core'])
@pytest.mark.parametrize('protocol', [2, 5])
def test_reads_what_either_numpy_writes(core, protocol):
    array = {'data': ENTRY['data'], 'label': np.uint8(3)}
    data = pickle.dumps(array, min(protocol, 3))
    ours = b'numpy._core' if b'numpy._core' in data else b'numpy.core'
    loaded = load_plain(data.replace(ours, core), 'file')
    np.testing.assert_array_equal(loaded['data'], ENTRY['data'])
    assert loaded['label'] == 3


def test_reads_what_python_2_wrote():
    loaded = load_plain(PYTHON_2, 'file')
    assert loaded['data'].tolist() == [[1, 200]]
    assert loaded['labels'] == [3]


def test_keys_become_texts():
    assert load_plain(pickle.dumps({b'labels': [1]}), 'file') == {'labels': [1]}


@pytest.mark.parametrize(
    ('function', 'args', 'asked'),
    [
        (os.system, ('touch {}',), f'{os.name}.system'),
        (subprocess.check_output, (['touch', '{}'],), 'check_output'),
        (eval, ("open('{}', 'w')",), 'eval'),
        (getattr, (os, 'system'), 'getattr'),
        (np.load, ('{}',), r'numpy\.'),
        (bytearray, (10,), 'bytearray'),
    ],
)
@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_hostile_pickles_are_refused(tmp_path, function, args, asked, protocol):
    trace = tmp_path / 'trace'
    filled = [
        [a.format(trace) for a in arg] if isinstance(arg, list) else arg for arg in args
    ]
    filled = [a.format(trace) if isinstance(a, str) else a for a in filled]
    if function is getattr:
        filled = [b'x', 'decode']
    data = pickle.dumps({'data': Reduced(function, *filled)}, protocol)
    with pytest.raises(ValueError, match=f'bad_file: refused.* asks for .*{asked}'):
        load_plain(data, 'bad_file')
    assert not trace.exists()


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        # numpy.dtype('O'), with which NumPy's own unpickling can be misled.
        (b'cnumpy\ndtype\n(VO8\nI0\nI1\ntR.', "dtype 'O8' is not a number"),
        (b'c_codecs\nencode\n(Vx\nVrot13\ntR.', "encoding 'rot13' is not latin1"),
        # bytes(10 ** 12) would take the memory.
        (b'c__builtin__\nbytes\n(L1000000000000L\ntR.', 'truncated or damaged'),
        # An array which its state does not follow.
        (
            b'(dVdata\ncnumpy.core.multiarray\n_reconstruct\n(tRs.',
            'truncated or damaged',
        ),
        (b'cnumpy\nndarray.__class__\n.', 'asks for numpy.ndarray.__class__'),
        (b'', 'truncated or damaged'),
        (b'GIF89a', 'refused|damaged'),
        (pickle.dumps([1]), 'expected a dict, got list'),
    ],
)
def test_refusals_name_the_file(data, message):
    with pytest.raises(ValueError, match=f'^some/file: .*({message})'):
        load_plain(data, 'some/file')


@pytest.mark.parametrize('name', [b'numpy\nndarray', b'_codecs\nencode'])
@pytest.mark.parametrize('attribute', [b'_function', b'__setstate__', b'__call__'])
def test_a_pickle_cannot_change_the_reader(name, attribute):
    hostile = b'c' + name + b'\n(N(dV' + attribute + b'\nI1\nstb.'
    with pytest.raises(ValueError, match='^file: '):
        load_plain(hostile, 'file')
    assert load_plain(pickle.dumps(ENTRY, 2), 'file')['nothing'] == b''


def test_array_of_wrong_size_is_refused():
    data = PYTHON_2.replace(b'(K\x01K\x01K\x02\x86', b'(K\x01K\x01K\x7f\x86')
    with pytest.raises(
        ValueError, match='file: truncated or damaged pickle: .*reshape'
    ):
        load_plain(data, 'file')


def test_every_truncation_is_a_clear_error():
    data = pickle.dumps(ENTRY)
    for length in range(len(data)):
        with pytest.raises(ValueError, match='^file: '):
            load_plain(data[:length], 'file')
