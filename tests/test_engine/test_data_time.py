from unittest import mock

import pytest
from mmengine.logging import HistoryBuffer

from ride_mm.engine.hooks import DataTimeHook

MODULE = 'ride_mm.engine.hooks.data_time'


def told_after(data: float, workers: int, epochs: int = 1, steps: int = 100) -> list:
    """What the hook says of steps of 1 s that wait so long for data."""
    counts = [1] * (steps + 1)
    times = {
        'train/time': HistoryBuffer([9.0, *[1.0] * steps], counts),
        'train/data_time': HistoryBuffer([8.0, *[data] * steps], counts),
    }
    runner = mock.Mock()
    runner.train_dataloader = mock.MagicMock(num_workers=workers)
    runner.train_dataloader.__len__.return_value = steps
    runner.message_hub.log_scalars = times
    runner.message_hub.get_scalar.side_effect = times.get
    hook = DataTimeHook()
    with mock.patch(f'{MODULE}.usable_processors', return_value=6):
        for _ in range(epochs):
            hook.after_train_epoch(runner)
    return [call.args[0] for call in runner.logger.warning.call_args_list]


def test_more_workers_are_proposed_once():
    (told,) = told_after(0.4, workers=2, epochs=3)
    assert told.startswith('40% of a step waits for data, with 2 workers and 6 proc')
    assert told.endswith('try train_dataloader.num_workers=6')


def test_with_enough_workers_a_cheaper_pipeline_is_proposed():
    (told,) = told_after(0.4, workers=6)
    assert 'BatchedLongTailed' in told
    assert 'num_workers=' not in told


@pytest.mark.parametrize('name', ['LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE'])
def test_processes_share_the_processors(name, monkeypatch):
    monkeypatch.setenv(name, '2')
    (told,) = told_after(0.4, workers=1)
    assert told.endswith('num_workers=3')


def test_little_waiting_and_short_epochs_are_passed_over():
    assert told_after(0.19, workers=0) == []
    assert told_after(0.9, workers=0, steps=39) == []
    assert len(told_after(0.9, workers=0, steps=40)) == 1


def test_without_a_timer_nothing_is_said():
    runner = mock.Mock()
    runner.train_dataloader = mock.MagicMock()
    runner.train_dataloader.__len__.return_value = 100
    runner.message_hub.log_scalars = {}
    DataTimeHook().after_train_epoch(runner)
    runner.logger.warning.assert_not_called()


def test_bad_settings_are_told():
    with pytest.raises(ValueError, match='got share=0 and steps=20'):
        DataTimeHook(share=0)
