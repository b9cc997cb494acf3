"""V-MoE's JAX checkpoints: what is read equals what was written, and nothing runs."""

import re
import shutil
import sys
from pathlib import Path

import msgpack
import numpy as np
import pytest
from vmoe_files import bfloat16, ndarray, shard, write

from ride_mm.engine.checkpoint_io import CheckpointError, DamagedCheckpointError
from ride_mm.engine.checkpoint_io.vmoe import load_vmoe_checkpoint, read_vmoe_index

GOLDEN = Path(__file__).parents[1] / 'data/vmoe/checkpoints'


def same(got: dict, expected: dict) -> bool:
    return set(got) == set(expected) and all(
        got[k].dtype == expected[k].dtype and np.array_equal(got[k], expected[k])
        for k in expected
    )


@pytest.fixture(scope='module')
def expected() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / 'expected_params.npz') as file:
        return dict(file)


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        # Their numbers in the shards go by sorted names: block 10 before block 2.
        **{f'a/block_{i}/kernel': rng.normal(size=(4, 6)) for i in (1, 2, 10)},
        'b/scalar': np.array(rng.normal()),
        'b/empty': np.zeros((0, 3), np.float32),
        'c/half': rng.normal(size=(2, 2, 2)).astype(np.float16),
        'c/whole': rng.integers(-9, 9, (6,), np.int32),
        'c/flags': rng.random(4) < 0.5,
    }


@pytest.fixture
def copy(tmp_path) -> Path:
    for file in GOLDEN.glob('sharded*'):
        shutil.copy(file, tmp_path)
    return tmp_path / 'sharded'


@pytest.mark.parametrize('name', ['tiny', 'sharded', 'tiny.index'])
def test_files_of_the_original_are_read_exactly(name, expected):
    assert same(load_vmoe_checkpoint(GOLDEN / name), expected)


def test_a_file_without_version_is_read_exactly(expected, copy):
    path = Path(f'{copy}.index')
    content = msgpack.unpackb(path.read_bytes())
    assert content.pop('version') == '20220622'
    path.write_bytes(msgpack.packb(content))
    assert read_vmoe_index(copy).version is None
    assert same(load_vmoe_checkpoint(copy), expected)


@pytest.mark.parametrize('shards, split, piece', [(1, 1, 99), (3, 2, 5), (7, 3, 1)])
def test_any_split_gives_the_same_arrays(arrays, tmp_path, shards, split, piece):
    prefix = write(tmp_path / 'any', arrays, shards, split, piece)
    assert same(load_vmoe_checkpoint(prefix), arrays)


def test_a_part_may_be_the_whole_of_an_axis(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    whole = msgpack.packb([msgpack.packb([None, None, None])] * 2)

    def unbounded(index, data):
        data[0]['0'][0][1] = msgpack.ExtType(6, whole)

    prefix = write(tmp_path / 'whole', {'x': array}, edit=unbounded)
    assert same(load_vmoe_checkpoint(prefix), {'x': array})


def test_bfloat16_becomes_the_same_numbers_in_float32(tmp_path):
    values = np.array([0, -1.5, 3e38, 1e-40, np.inf, 2**-126], np.float32)
    stored = bfloat16(values).reshape(2, 3)
    prefix = write(tmp_path / 'half', {'x': stored}, split=3, dtypes={'x': 'bfloat16'})
    got = load_vmoe_checkpoint(prefix)['x']
    rounded = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert got.dtype == np.float32
    assert np.array_equal(got, rounded.reshape(2, 3))


def test_the_index_alone_tells_names_and_shapes(expected):
    index = read_vmoe_index(GOLDEN / 'sharded')
    assert index.shard_count == 3
    shapes = {name: entry.shape for name, entry in index.arrays.items()}
    assert shapes == {name: array.shape for name, array in expected.items()}


def error_of(prefix: Path, kind: type[Exception], file: Path, message: str) -> None:
    """Expect an error that names the file and says what was expected and got."""
    with pytest.raises(kind) as caught:
        load_vmoe_checkpoint(prefix)
    text = str(caught.value)
    assert text.startswith(f'{file}: ')
    assert re.search(message, text), text
    assert 'expected' in text and 'got' in text


@pytest.mark.parametrize('kept', [0, 1, 40_000, -4, -1])
def test_a_truncated_shard(copy, kept):
    path = shard(copy, 1, 3)
    path.write_bytes(path.read_bytes()[:kept])
    error_of(copy, DamagedCheckpointError, path, 'bytes.*truncated')


def test_a_missing_shard(copy):
    shard(copy, 2, 3).unlink()
    path = shard(copy, 2, 3)
    error_of(copy, FileNotFoundError, path, 'shard of the 3 .*got no such file$')
    shard(copy, 1, 3).unlink()
    path = shard(copy, 1, 3)
    error_of(copy, FileNotFoundError, path, r'no such file \(2 are missing\)')


def test_shards_of_another_number(copy):
    for number in range(3):
        shard(copy, number, 3).rename(shard(copy, number, 4))
    error_of(
        copy,
        DamagedCheckpointError,
        shard(copy, 0, 3),
        r'expected 3 shards.*got sharded.data-00000-of-00004, .*another checkpoint',
    )


@pytest.mark.parametrize('count, message', [(2, 'one of the 2 shards'), (0, 'from 1')])
def test_an_index_with_another_number_of_shards(copy, count, message):
    path = Path(f'{copy}.index')
    content = msgpack.unpackb(path.read_bytes())
    path.write_bytes(msgpack.packb({**content, 'shard_count': count}))
    error_of(copy, DamagedCheckpointError, path, message)


def test_shards_that_were_exchanged(copy):
    first, second = shard(copy, 1, 3), shard(copy, 2, 3)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    error_of(copy, DamagedCheckpointError, first, 'in this shard')


def test_a_missing_index(tmp_path, copy):
    path = tmp_path / 'shard.index'
    error_of(path, FileNotFoundError, path, 'no such file; beside it: sharded.data')


def test_a_folder_or_an_address(tmp_path):
    error_of(tmp_path, CheckpointError, tmp_path, 'folders? of Orbax')
    with pytest.raises(CheckpointError, match=r'gs://a/b: expected files .* address'):
        load_vmoe_checkpoint('gs://a/b')


def test_numbers_of_an_unknown_type(tmp_path, arrays):
    names = {'c/whole': 'float8_e4m3fn'}
    prefix = write(tmp_path / 'odd', arrays, dtypes=names)
    message = "c/whole: expected .* float32.*, got 'float8_e4m3fn'"
    error_of(prefix, CheckpointError, Path(f'{prefix}.index'), message)

    def in_the_shard(index, data):
        array = ndarray(np.zeros(6, np.uint8), 'void')
        data[0]['5'] = [[[array], data[0]['5'][0][1]]]

    prefix = write(tmp_path / 'odd', arrays, edit=in_the_shard)
    error_of(prefix, CheckpointError, shard(prefix, 0, 1), "got 'void'")


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'truncated'),
        (b'\x80', 'shard_count and index, got an empty map'),
        (b'not an index', 'one msgpack message, got more'),
        (b'\xc1', 'expected msgpack'),
        (b'\x91' * 3000, 'expected msgpack'),
        (b'\xdf\xff\xff\xff\xff', 'expected msgpack'),
        (msgpack.packb({'shard_count': 1, 'index': {}}), 'arrays .*got none'),
        (msgpack.packb({'shard_count': 1, 'index': {'a': 1}}), 'type 8, got a int'),
        (msgpack.packb({'shard_count': 1, 'index': {3: 1}}), 'got 3'),
        (
            msgpack.packb({'shard_count': 1, 'index': {}, 'version': '2099'}),
            "version 20220622 or none, got '2099'",
        ),
        (
            b'\x82\xabshard_count\x01\xa5index' + b'\x81\xa1a' * 400 + b'\x01',
            '50 levels',
        ),
    ],
)
def test_a_damaged_index(tmp_path, content, message):
    path = tmp_path / 'bad.index'
    path.write_bytes(content)
    error_of(path, DamagedCheckpointError, path, message)


@pytest.mark.parametrize('kept', [1, 100, -1])
def test_a_truncated_index(copy, kept):
    path = Path(f'{copy}.index')
    path.write_bytes(path.read_bytes()[:kept])
    error_of(copy, DamagedCheckpointError, path, 'truncated')


def test_bytes_after_the_end(copy):
    for path in (shard(copy, 2, 3), Path(f'{copy}.index')):
        path.write_bytes(path.read_bytes() + b'\xc0')
        error_of(copy, DamagedCheckpointError, path, 'expected')


def slices(*bounds: tuple[int, int]) -> bytes:
    return msgpack.packb([msgpack.packb([*b, None]) for b in bounds])


def entry(parts: list[bytes], places: list[int]) -> msgpack.ExtType:
    shape = msgpack.packb([[4], 'float64', False, {}])
    return msgpack.ExtType(8, msgpack.packb([shape, parts, places]))


@pytest.mark.parametrize(
    'value, message',
    [
        (entry([slices((0, 2))], [0]), r'x: .* fill the shape \(4,\), 4 .*got 2'),
        (entry([slices((0, 3)), slices((2, 4))], [0, 0]), 'x: .*apart'),
        (entry([slices((0, 5))], [0]), 'x: .* axis of 4, got 0:5'),
        (entry([slices((0, 4), (0, 1))], [0]), 'x: .* 1 entries, got 2'),
        (entry([slices((0, 4))], [1]), 'x: .*one of the 1 shards, got 1'),
        (entry([slices((0, 4))], []), 'x: .* 1 entries, got 0'),
        (msgpack.ExtType(7, b''), 'x: .*type 8, got type 7'),
    ],
)
def test_an_index_that_contradicts_itself(tmp_path, value, message):
    def replace(index, data):
        index['index']['x'] = value

    prefix = write(tmp_path / 'bad', {'x': np.zeros(4)}, edit=replace)
    error_of(prefix, DamagedCheckpointError, Path(f'{prefix}.index'), message)


def test_a_shape_beyond_all_memory(tmp_path):
    def replace(index, data):
        shape = msgpack.packb([[2**50], 'float32', False, {}])
        info = msgpack.packb([shape, [slices((0, 2**50))], [0]])
        index['index']['x'] = msgpack.ExtType(8, info)

    prefix = write(tmp_path / 'bad', {'x': np.zeros(4)}, edit=replace)
    error_of(prefix, DamagedCheckpointError, shard(prefix, 0, 1), 'truncated')


def part(array: np.ndarray, *bounds: tuple[int, int], dtype: str = 'float64') -> list:
    return [[ndarray(array, dtype)], msgpack.ExtType(6, slices(*bounds))]


@pytest.mark.parametrize(
    'change, message',
    [
        ({'0': []}, 'x: .*4 numbers .*got 0'),
        ({'0': [part(np.zeros(3), (0, 4))]}, 'x: .*4 numbers for the part.*got 3'),
        ({'0': [part(np.zeros(3), (1, 4))]}, 'x: .*4 numbers .*got 3'),
        ({'0': [part(np.zeros(2), (1, 3))] * 2}, 'x: .*apart'),
        ({'0': [part(np.zeros(4), (1, 5))]}, 'x: .*axis of 4, got 1:5'),
        ({'0': [part(np.zeros(4), (0, 4), dtype='int64')]}, 'float64.*got int64'),
        ({'0': [part(np.zeros(4), (0, 4), dtype='int8')]}, '4 bytes.*got 32'),
        ({'0': None}, 'expected a list, got None'),
        ({'0': [[[1], 2]]}, 'type 6, got a int'),
        ({'1': []}, "1 arrays, got '1'"),
        ({'x': []}, "1 arrays, got 'x'"),
        ({0: []}, 'strings as keys, got 0'),
    ],
)
def test_a_damaged_shard(tmp_path, change, message):
    prefix = write(
        tmp_path / 'bad',
        {'x': np.zeros(4)},
        edit=lambda index, data: data[0].update(change),
    )
    error_of(prefix, DamagedCheckpointError, shard(prefix, 0, 1), message)


@pytest.mark.parametrize(
    'remove, message', [('0', 'x: .*no such array'), (None, 'marked by')]
)
def test_a_shard_without(tmp_path, remove, message):
    def edit(index, data):
        mark = next(iter(data[0]))
        if remove is None:
            del data[0][mark]
        else:  # As many bytes as before.
            data[0] = {mark: 'x' * len(msgpack.packb(data[0][remove]))}

    prefix = write(tmp_path / 'bad', {'x': np.zeros(4)}, edit=edit)
    error_of(prefix, DamagedCheckpointError, shard(prefix, 0, 1), message)


def test_any_damaged_byte_gives_an_error_or_numbers(tmp_path):
    prefix = write(tmp_path / 'bad', {'a/x': np.zeros(3), 'y': np.zeros((2, 2))}, 2, 2)
    rng = np.random.default_rng(0)
    for path in (Path(f'{prefix}.index'), shard(prefix, 0, 2)):
        content = path.read_bytes()
        for _ in range(300):
            changed = bytearray(content)
            changed[rng.integers(len(content))] = rng.integers(256)
            path.write_bytes(changed)
            try:
                load_vmoe_checkpoint(prefix)
            except (CheckpointError, FileNotFoundError) as err:
                assert 'expected' in str(err)
        path.write_bytes(content)


def test_without_msgpack_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, 'msgpack', None)
    with pytest.raises(CheckpointError, match='got none.*pip install msgpack'):
        load_vmoe_checkpoint(GOLDEN / 'tiny')
