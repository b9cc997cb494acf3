import hashlib
import re
from pathlib import Path

import pytest
import torch
from engine_helpers import checkpoint_digest, files_in, run_tiny
from mmengine.config import Config

from ride_mm.engine.checkpoint_io import CheckpointError, load_checkpoint_file
from ride_mm.engine.hooks import NaNGuardHook, SafeCheckpointHook


@pytest.fixture(autouse=True)
def quick_config_text(monkeypatch):
    """Formatting the config takes most of the time of a tiny run."""
    monkeypatch.setattr(Config, 'pretty_text', '')


@pytest.fixture(scope='module')
def straight(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('straight')
    run_tiny(folder, default_hooks__checkpoint__max_keep_ckpts=-1)
    return folder


def test_all_are_kept_without_a_limit(straight):
    assert files_in(straight) == [
        'best_score_nll_epoch_3.pth',
        'epoch_1.pth',
        'epoch_2.pth',
        'epoch_3.pth',
        'last_checkpoint',
    ]
    assert (straight / 'last_checkpoint').read_text() == str(straight / 'epoch_3.pth')


def test_checkpoints_are_plain_data(straight):
    for path in straight.glob('*.pth'):
        checkpoint = torch.load(path, weights_only=True)
        history = checkpoint['message_hub']['log_scalars']['train/loss']
        assert history['values'].dtype == torch.float64
        assert len(history['values']) == 3 * checkpoint['meta']['epoch']


def test_run_resumed_in_another_folder_touches_nothing_outside(straight, tmp_path):
    before = {path.name: path.read_bytes() for path in straight.glob('*.pth')}
    run_tiny(tmp_path, load_from=str(straight / 'epoch_2.pth'), resume=True)
    assert {p.name: p.read_bytes() for p in straight.glob('*.pth')} == before
    assert files_in(tmp_path) == [
        'best_score_nll_epoch_3.pth',
        'epoch_3.pth',
        'last_checkpoint',
    ]
    assert checkpoint_digest(tmp_path / 'epoch_3.pth') == checkpoint_digest(
        straight / 'epoch_3.pth'
    )


def test_logged_history_goes_on(straight, tmp_path):
    run_tiny(tmp_path, load_from=str(straight / 'epoch_1.pth'), resume=True)
    losses = [
        load_checkpoint_file(folder / 'epoch_3.pth')['message_hub']['log_scalars'][
            'train/loss'
        ]['values']
        for folder in (straight, tmp_path)
    ]
    assert torch.equal(*losses)


def test_several_best_metrics(tmp_path):
    run_tiny(
        tmp_path,
        default_hooks__checkpoint__save_best=['score/nll', 'accuracy/top1'],
        default_hooks__checkpoint__rule=['less', 'greater'],
    )
    best = [name for name in files_in(tmp_path) if name.startswith('best')]
    assert len(best) == 2
    assert 'best_score_nll_epoch_3.pth' in best
    assert any(name.startswith('best_accuracy_top1_epoch_') for name in best)


def test_only_what_is_saved_is_kept(tmp_path):
    run_tiny(
        tmp_path,
        default_hooks__checkpoint__interval=2,
        default_hooks__checkpoint__max_keep_ckpts=2,
        default_hooks__checkpoint__save_best=None,
    )
    assert files_in(tmp_path) == ['epoch_2.pth', 'epoch_3.pth', 'last_checkpoint']


def test_published_file_is_named_by_its_hash(tmp_path):
    run_tiny(
        tmp_path,
        train_cfg__max_epochs=1,
        default_hooks__checkpoint__published_keys=['meta', 'state_dict'],
    )
    published = [p for p in tmp_path.glob('*.pth') if '-' in p.name]
    assert len(published) == 2
    for path in published:
        digest = re.search(r'-([0-9a-f]{8})\.pth', path.name).group(1)
        assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest)
        assert load_checkpoint_file(path).keys() == {'meta', 'state_dict'}


def test_out_dir(tmp_path):
    run_tiny(
        tmp_path / 'run',
        train_cfg__max_epochs=1,
        default_hooks__checkpoint__out_dir=str(tmp_path / 'out'),
    )
    assert 'epoch_1.pth' in files_in(tmp_path / 'out' / 'run')
    pointer = (tmp_path / 'run' / 'last_checkpoint').read_text()
    assert pointer == str(tmp_path / 'out' / 'run' / 'epoch_1.pth')


def test_object_that_is_no_data_is_refused_by_name(tmp_path, monkeypatch):
    def spoil(self, runner, checkpoint):
        checkpoint['meta']['object'] = object()

    monkeypatch.setattr(NaNGuardHook, 'before_save_checkpoint', spoil)
    with pytest.raises(CheckpointError, match=r"checkpoint\['meta'\]\['object'\]"):
        run_tiny(tmp_path)
    assert files_in(tmp_path) == []


def test_unknown_metric_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"accuracy/top1.*got \['no/metric'\]"):
        run_tiny(tmp_path, default_hooks__checkpoint__save_best='no/metric')


@pytest.mark.parametrize('interval', [0, -2, None, 0.5])
def test_impossible_interval_is_refused(interval):
    with pytest.raises(ValueError, match='interval: expected a positive number'):
        SafeCheckpointHook(interval=interval)
    assert SafeCheckpointHook(interval=-1).interval == -1


@pytest.mark.parametrize(
    'options',
    [
        {'backend_args': {'backend': 'petrel'}},
        {'file_client_args': {'backend': 'petrel'}},
        {'out_dir': 's3://bucket/runs'},
    ],
)
def test_other_storage_is_refused(options):
    with pytest.raises(ValueError, match='local files only'):
        SafeCheckpointHook(**options)
