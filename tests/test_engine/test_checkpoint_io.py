import hashlib
import os
import pickle
from collections import Counter, OrderedDict, deque
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_helpers import EngineTestNet, run_tiny
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain import get_model

from ride_mm.engine.checkpoint_io import (
    CheckpointError,
    DamagedCheckpointError,
    UnsafeCheckpointError,
    from_plain,
    latest_checkpoint,
    load_checkpoint_file,
    loaders,
    plain_data,
    to_plain,
    write_atomically,
)


class Hostile:
    """Makes a folder when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def save_zip(obj: object, path: Path) -> None:
    torch.save(obj, path)


def save_legacy(obj: object, path: Path) -> None:
    torch.save(obj, path, _use_new_zipfile_serialization=False)


def save_pickle(obj: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(obj, protocol=2))


@pytest.fixture(params=[save_zip, save_legacy, save_pickle])
def hostile(request, tmp_path) -> tuple[Path, Path]:
    """A checkpoint, and the folder that it would make."""
    made = tmp_path / 'made'
    path = tmp_path / 'hostile.pth'
    state = EngineTestNet().state_dict() if request.param is not save_pickle else {}
    request.param({'state_dict': state, 'meta': Hostile(made)}, path)
    return path, made


def test_the_hostile_object_is_hostile(tmp_path):
    """So that the other tests test something."""
    pickle.loads(pickle.dumps(Hostile(tmp_path / 'made')))
    assert (tmp_path / 'made').exists()


WAYS = {
    'loader': lambda path: load_checkpoint_file(path),
    'mmengine': lambda path: load_checkpoint(EngineTestNet(), str(path)),
    'pretrained': lambda path: _init_pretrained(path),
    'get_model': lambda path: get_model(
        'resnet18_8xb32_in1k', pretrained=str(path), device='cpu'
    ),
    'load_from': lambda path: run_tiny(path.parent / 'run', load_from=str(path)),
    'resume': lambda path: run_tiny(
        path.parent / 'run', load_from=str(path), resume=True
    ),
}


def _init_pretrained(path: Path) -> None:
    net = EngineTestNet()
    net.init_cfg = {'type': 'Pretrained', 'checkpoint': str(path)}
    net.init_weights()


@pytest.mark.parametrize('way', WAYS)
def test_hostile_file_is_refused_and_nothing_is_executed(hostile, way):
    path, made = hostile
    with pytest.raises(UnsafeCheckpointError, match='mkdir') as err:
        WAYS[way](path)
    assert not made.exists()
    assert 'Nothing of the file was executed' in str(err.value)
    assert 'weights_only' not in str(err.value)


def test_environment_cannot_switch_the_check_off(hostile, monkeypatch):
    path, made = hostile
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with pytest.raises(UnsafeCheckpointError):
        load_checkpoint_file(path)
    assert not made.exists()


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_of_any_protocol_executes_nothing(tmp_path, protocol):
    path, made = tmp_path / 'hostile.pth', tmp_path / 'made'
    path.write_bytes(pickle.dumps(Hostile(made), protocol=protocol))
    with pytest.raises(CheckpointError):
        load_checkpoint_file(path)
    assert not made.exists()


def test_checkpoint_of_stock_mmengine_is_refused_by_name(tmp_path):
    torch.save({'message_hub': HistoryBuffer([1.0], [1])}, tmp_path / 'stock.pth')
    with pytest.raises(UnsafeCheckpointError, match='HistoryBuffer'):
        load_checkpoint_file(tmp_path / 'stock.pth')


@pytest.mark.parametrize('fraction', [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize('save', [save_zip, save_legacy])
def test_truncated_file(tmp_path, save, fraction):
    path = tmp_path / 'cut.pth'
    save({'state_dict': {'a': torch.randn(1000)}}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(DamagedCheckpointError, match='truncated') as err:
        load_checkpoint_file(path)
    assert f'{path.stat().st_size:,} bytes' in str(err.value)
    assert 'cut.pth' in str(err.value)


def test_a_changed_byte_of_a_tensor(tmp_path):
    path = tmp_path / 'model.pth'
    torch.save({'weight': torch.ones(1000)}, path)
    content = path.read_bytes()
    one = np.float32(1).tobytes()
    path.write_bytes(content.replace(50 * one, 50 * np.float32(2).tobytes(), 1))
    assert path.read_bytes() != content
    with pytest.raises(DamagedCheckpointError, match='Bad CRC-32'):
        load_checkpoint_file(path)


def test_a_file_without_checksums_is_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({'weight': torch.ones(3)}, tmp_path / 'model.pth')
    finally:
        torch.serialization.set_crc32_options(before)
    assert load_checkpoint_file(tmp_path / 'model.pth')['weight'].sum() == 3


@pytest.mark.parametrize('content', [[1], torch.ones(2), {'a': 1}, {'state_dict': []}])
def test_a_file_without_weights_is_no_models(tmp_path, content):
    torch.save(content, tmp_path / 'model.pth')
    with pytest.raises(CheckpointError, match='expected the tensors of a model, got a'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'model.pth'))


def test_text_is_no_checkpoint(tmp_path):
    (tmp_path / 'text.pth').write_text('version https://git-lfs.github.com/spec/v1')
    with pytest.raises(DamagedCheckpointError, match='no checkpoint'):
        load_checkpoint_file(tmp_path / 'text.pth')


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.pth.* got nothing'):
        load_checkpoint_file(tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match='got a folder'):
        load_checkpoint_file(tmp_path)


@pytest.mark.parametrize(
    'address',
    [
        'torchvision://resnet50',
        'modelzoo://resnet50',
        'open-mmlab://resnet50',
        'openmmlab://resnet50',
        'mmcls://resnet50',
        'pavi://model',
        's3://bucket/model.pth',
        'petrel://bucket/model.pth',
        'cluster:s3://bucket/model.pth',
    ],
)
def test_unchecked_schemes_are_refused(address):
    with pytest.raises(CheckpointError, match='download the file'):
        CheckpointLoader.load_checkpoint(address)


class TestDownload:
    @pytest.fixture
    def site(self, tmp_path, monkeypatch) -> Path:
        """A folder whose files can be fetched as http://site/NAME."""
        site, cache = tmp_path / 'site', tmp_path / 'cache'
        site.mkdir()
        download = torch.hub.download_url_to_file

        def fetch(url, dst, **kwargs):
            local = (site / url.rsplit('/', 1)[-1]).as_uri()
            download(local, dst, **kwargs)

        monkeypatch.setattr(torch.hub, 'download_url_to_file', fetch)
        monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(cache))
        return site

    def test_is_read_once_downloaded(self, site):
        torch.save({'a': torch.ones(2)}, site / 'model.pth')
        assert CheckpointLoader.load_checkpoint('http://site/model.pth')['a'].sum() == 2
        (site / 'model.pth').unlink()
        assert (
            CheckpointLoader.load_checkpoint('https://site/model.pth')['a'].sum() == 2
        )

    def test_hash_in_the_name_is_compared(self, site):
        torch.save({'a': torch.ones(2)}, site / 'file')
        digest = hashlib.sha256((site / 'file').read_bytes()).hexdigest()
        (site / 'file').rename(site / f'model-{digest[:8]}.pth')
        url = f'https://site/model-{digest[:8]}.pth'
        assert CheckpointLoader.load_checkpoint(url)['a'].sum() == 2

    def test_wrong_hash_leaves_no_file(self, site, tmp_path):
        torch.save({'a': torch.ones(2)}, site / 'model-0123abcd.pth')
        with pytest.raises(RuntimeError, match='0123abcd'):
            CheckpointLoader.load_checkpoint('https://site/model-0123abcd.pth')
        assert list((tmp_path / 'cache' / 'checkpoints').iterdir()) == []

    def test_hostile_file_is_refused(self, site, tmp_path):
        torch.save(Hostile(tmp_path / 'made'), site / 'model.pth')
        with pytest.raises(UnsafeCheckpointError):
            CheckpointLoader.load_checkpoint('https://site/model.pth')
        assert not (tmp_path / 'made').exists()

    @pytest.mark.parametrize(
        ('name', 'expected'),
        [
            ('resnet50-0676ba61.pth', '0676ba61'),
            ('resnet50_8xb32_in1k_20210831-ea4938fc.pth', 'ea4938fc'),
            ('resnet-20210831.pth', None),
            ('resnet-50.pth', None),
            ('model.pth', None),
        ],
    )
    def test_hash_in_name(self, name, expected):
        assert loaders._hash_in_name(name) == expected


class TestPlainData:
    def test_round_trip_through_a_file(self, tmp_path):
        state = OrderedDict(weight=torch.nn.Parameter(torch.ones(2)))
        state._metadata = OrderedDict(module={'version': 2})
        content = {
            'numbers': [True, -1, 2**80, 0.1, float('inf'), 1j, 'text', b'bytes', None],
            'numpy': (np.float32(0.5), np.int64(3), np.bool_(True), np.str_('s')),
            'arrays': {
                name: np.arange(3, dtype=name) for name in ('uint8', 'int64', 'float64')
            },
            'names': np.array(['a', 'b']),
            'milestones': Counter([2, 2, 3]),
            'deque': deque([1, 2]),
            'set': frozenset([1]),
            'torch': [torch.float16, torch.device('cpu'), torch.Size([1])],
            'state_dict': state,
            3: {('a', 1): 'tuple as key'},
        }
        write_atomically(content, tmp_path / 'plain.pth')
        loaded = load_checkpoint_file(tmp_path / 'plain.pth')
        assert loaded['numbers'] == content['numbers']
        assert loaded['numpy'] == (0.5, 3, True, 's')
        assert [type(x) for x in loaded['numpy']] == [float, int, bool, str]
        for name, array in content['arrays'].items():
            assert loaded['arrays'][name].numpy().dtype == array.dtype
            assert loaded['arrays'][name].tolist() == [0, 1, 2]
        assert loaded['names'] == ['a', 'b']
        assert loaded['milestones'] == Counter({2: 2, 3: 1})
        assert type(loaded['milestones']) is Counter
        assert loaded['deque'] == [1, 2] and loaded['set'] == {1}
        assert loaded['torch'] == content['torch']
        assert type(loaded['state_dict']['weight']) is torch.Tensor
        assert loaded['state_dict']._metadata == state._metadata
        assert loaded[3] == content[3]

    def test_tensors_are_not_copied(self):
        tensor = torch.ones(2)
        assert plain_data({'a': [tensor]})['a'][0].data_ptr() == tensor.data_ptr()

    @pytest.mark.parametrize(
        'value', [object(), len, torch.nn.ReLU, np.datetime64(1, 's')]
    )
    def test_other_objects_are_refused_by_their_keys(self, value):
        with pytest.raises(CheckpointError, match=r"checkpoint\['a'\]\[1\]\['b'\]: "):
            plain_data({'a': [0, {'b': value}]})

    def test_message_hub_comes_back_exactly(self, tmp_path):
        hub = MessageHub('test_message_hub_comes_back_exactly')
        for value in (0.1, 1 / 3, float('nan'), 1e-300):
            hub.update_scalar('train/loss', value, count=2)
        hub.update_info('best_score', np.float64(1 / 3))
        hub.update_info('iter', 7)
        write_atomically(to_plain(hub.state_dict()), tmp_path / 'hub.pth')
        other = MessageHub('another')
        other.load_state_dict(from_plain(load_checkpoint_file(tmp_path / 'hub.pth')))
        for before, after in zip(
            hub.get_scalar('train/loss').data,
            other.get_scalar('train/loss').data,
            strict=True,
        ):
            assert before.dtype == after.dtype
            assert before.tobytes() == after.tobytes()
        assert other.get_scalar('train/loss').max_length == 1000000
        assert other.get_info('best_score') == 1 / 3
        assert other.get_info('iter') == 7


class TestLatestCheckpoint:
    def test_nothing(self, tmp_path):
        assert latest_checkpoint(tmp_path) is None
        assert latest_checkpoint(tmp_path / 'none') is None

    def test_pointer_wins(self, tmp_path):
        for name in ('epoch_2.pth', 'epoch_10.pth'):
            (tmp_path / name).touch()
        (tmp_path / 'last_checkpoint').write_text(f'{tmp_path / "epoch_2.pth"}\n')
        assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_2.pth')

    def test_moved_folder(self, tmp_path):
        (tmp_path / 'epoch_2.pth').touch()
        (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
        assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_2.pth')

    def test_a_copied_folder_goes_on_from_its_own(self, tmp_path):
        for folder in (tmp_path / 'first', tmp_path / 'copy'):
            folder.mkdir()
            (folder / 'epoch_2.pth').touch()
            pointer = folder / 'last_checkpoint'
            pointer.write_text(str(tmp_path / 'first' / 'epoch_2.pth'))
        own = str(tmp_path / 'copy' / 'epoch_2.pth')
        assert latest_checkpoint(tmp_path / 'copy') == own

    def test_most_steps_without_a_usable_pointer(self, tmp_path):
        for name in ('epoch_2.pth', 'epoch_10.pth', 'best_epoch_11.pth'):
            (tmp_path / name).touch()
        assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_10.pth')
        (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
        assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_10.pth')
