"""Hook that says when a training waits for its data."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...utils.machine import processes_here, usable_processors


@HOOKS.register_module()
class DataTimeHook(Hook):
    """Says once, after an epoch, how much of a step goes into waiting for data.

    It reads what MMEngine's ``IterTimerHook`` measures. The first steps, in which
    workers start, do not count.

    Args:
        share: From which share of a step's time on it says so.
        steps: It looks at the last ones of an epoch, and at no epoch with fewer.
    """

    priority = 'LOW'

    def __init__(self, share: float = 0.2, steps: int = 20) -> None:
        if not 0 < share <= 1 or steps < 1:
            raise ValueError(
                'expected share in (0, 1] and steps >= 1, got '
                f'share={share} and steps={steps}'
            )
        self.share = share
        self.steps = steps
        self._told = False

    def after_train_epoch(self, runner: Runner) -> None:
        """Look at the times of the epoch's last steps."""
        loader = runner.train_dataloader
        # Half of the epoch at most: in the first half workers may still start.
        if self._told or len(loader) < 2 * self.steps:
            return
        if 'train/data_time' not in runner.message_hub.log_scalars:
            return
        seconds, data = (
            runner.message_hub.get_scalar(f'train/{name}').mean(self.steps)
            for name in ('time', 'data_time')
        )
        if data < self.share * seconds:
            return
        self._told = True
        runner.logger.warning(
            f'{data / seconds:.0%} of a step waits for data, with '
            f'{loader.num_workers} workers {_advice(loader)}'
        )


def _advice(loader: Any) -> str:
    processors = max(1, usable_processors() // processes_here())
    room = f'and {processors} processors for each training process'
    if loader.num_workers < processors:
        return f'{room}: try train_dataloader.num_workers={processors}'
    return (
        f'{room}: make the pipeline cheaper, or, for images in memory, fetch them by '
        'the batch (BatchedLongTailed)'
    )
