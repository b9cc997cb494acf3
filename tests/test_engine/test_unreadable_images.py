"""Training over unreadable images: workers and a resume make no difference."""

import pytest
from engine_helpers import (
    EngineTestImages,
    checkpoint_digest,
    forget_runs,
    run_tiny,
)
from mmpretrain.registry import DATASETS, TRANSFORMS

from ride_mm.engine.hooks.schedule_guard import ScheduleChangedError

BROKEN = 4, 7, 17


@TRANSFORMS.register_module(force=True)
class FailAtBroken:
    """Fails at the images that cannot be read."""

    def __call__(self, results: dict) -> dict:
        if results['number'] in BROKEN:
            raise OSError('cut off')
        return results


@DATASETS.register_module(force=True)
class PartlyBrokenImages(EngineTestImages):
    """Images some of which cannot be read."""

    def load_data_list(self) -> list[dict]:
        records = super().load_data_list()
        return [dict(record, number=i) for i, record in enumerate(records)]


def train(folder, policy='skip', **changes):
    forget_runs()
    pipeline = [
        {'type': 'FailAtBroken'},
        {'type': 'RandomCrop', 'crop_size': 8, 'padding': 2},
        {'type': 'PackInputs'},
    ]
    inner = {'type': 'PartlyBrokenImages', 'size': 24, 'pipeline': pipeline}
    dataset = {'type': 'LongTailed', 'dataset': inner, 'unreadable': policy}
    checkpoint = {'default_hooks.checkpoint.max_keep_ckpts': -1}
    return run_tiny(
        folder, **{'train_dataloader.dataset': dataset}, **checkpoint, **changes
    )


def test_workers_and_a_resume_make_no_difference(tmp_path):
    train(tmp_path / 'straight')
    train(tmp_path / 'resumed', train_dataloader__num_workers=2)
    expected = checkpoint_digest(tmp_path / 'straight/epoch_3.pth')
    assert checkpoint_digest(tmp_path / 'resumed/epoch_3.pth') == expected
    (tmp_path / 'resumed/epoch_3.pth').unlink()
    start = str(tmp_path / 'resumed/epoch_1.pth')
    runner = train(tmp_path / 'resumed', resume=True, load_from=start)
    assert checkpoint_digest(tmp_path / 'resumed/epoch_3.pth') == expected
    found = runner.train_dataloader.dataset.unreadable_images
    assert tuple(found.nonzero().flatten().tolist()) == BROKEN
    log = next((tmp_path / 'straight').rglob('*.log')).read_text()
    assert '3 of 24 training images could not be loaded so far, ' in log
    assert 'image 4, image 7, image 17' in log


def test_stop_stops_and_refuses_the_other_s_checkpoint(tmp_path):
    with pytest.raises(RuntimeError, match='cannot load image .*: OSError: cut off'):
        train(tmp_path / 'stop', 'stop')
    train(tmp_path / 'skip', train_cfg__max_epochs=1)
    start = str(tmp_path / 'skip/epoch_1.pth')
    message = "unreadable: expected 'skip', got 'stop'"
    with pytest.raises(ScheduleChangedError, match=message):
        train(
            tmp_path / 'skip',
            'stop',
            train_cfg__max_epochs=1,
            resume=True,
            load_from=start,
        )
