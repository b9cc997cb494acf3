"""Training with data by the batch: equal to image by image, and to itself resumed."""

from pathlib import Path

import pytest
from engine_helpers import (
    checkpoint_digest,
    forget_runs,
    run_tiny,
    stopped_in_epoch_two,
)

PACK = [dict(type='PackInputs')]
BATCHED = dict(
    data_preprocessor__type='LTDataPreprocessor',
    train_dataloader__collate_fn=dict(type='take_batch'),
    train_dataloader__dataset__type='BatchedLongTailed',
    train_dataloader__dataset__dataset__pipeline=PACK,
)
AUGMENTED = dict(
    data_preprocessor__batch_transforms=[
        dict(type='BatchRandomCrop', crop_size=8, padding=2),
        dict(type='BatchRandomFlip'),
        dict(type='BatchRandomRotation', degrees=15),
    ]
)


def train(folder: Path, **changes) -> str:
    """Digest of the last checkpoint of a tiny run with Mixup and dropout."""
    forget_runs()
    run_tiny(folder, **changes)
    return checkpoint_digest(folder / 'epoch_3.pth')


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'AutocastOptimWrapper'])
def test_weights_equal_those_of_single_images_to_the_bit(wrapper, tmp_path):
    precision = dict(optim_wrapper__type=wrapper)
    pipeline = dict(train_dataloader__dataset__dataset__pipeline=PACK)
    single = train(tmp_path / 'single', **pipeline, **precision)
    assert train(tmp_path / 'batched', **BATCHED, **precision) == single


def test_resumed_run_equals_a_straight_one(tmp_path, monkeypatch):
    straight = train(tmp_path / 'straight', **BATCHED, **AUGMENTED)
    with stopped_in_epoch_two(monkeypatch):
        train(tmp_path / 'halted', **BATCHED, **AUGMENTED)
    resumed = train(tmp_path / 'halted', resume=True, **BATCHED, **AUGMENTED)
    assert resumed == straight
    assert straight != train(tmp_path / 'plain', **BATCHED)
