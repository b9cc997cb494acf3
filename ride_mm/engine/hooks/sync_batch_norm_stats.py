"""Hook that averages BatchNorm's statistics over processes."""

from collections.abc import Iterator
from typing import Any

from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def tracked_statistics(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of each layer that keeps a running mean and variance."""
    for name, module in model.named_modules():
        if isinstance(module, _NormBase) and module.track_running_stats:
            yield name, module


def saves_within_epoch(runner: Runner) -> bool:
    """Whether a checkpoint that counts iterations is saved after this one."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and not hook.by_epoch:
            last = hook.save_last and hook.is_last_train_iter(runner)
            if last or hook.every_n_train_iters(runner, hook.interval, hook.save_begin):
                return True
    return False


@HOOKS.register_module()
class SyncBatchNormStatsHook(Hook):
    """Averages running means and variances over processes before anyone uses them.

    Each process has seen other images. Validation and the checkpoint, which holds those
    of one process, then have the same statistics everywhere, and a run resumed from it
    goes on as if never interrupted. Layers in eval mode are skipped, because the mean
    of equal numbers may differ from them by rounding. So are other buffers (class
    counts, numbers of batches), which are equal in all processes by construction;
    MMEngine's SyncBuffersHook would round them.
    """

    priority = 'NORMAL'

    def __init__(self) -> None:
        super().__init__()
        self._stale = False

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Average before a checkpoint in the middle of an epoch is saved."""
        self._stale = True
        if saves_within_epoch(runner):
            self._average(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Average before the checkpoint is saved."""
        self._average(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Average before validation within an epoch."""
        self._average(runner)

    def _average(self, runner: Runner) -> None:
        if not self._stale:
            return
        self._stale = False
        if get_world_size() == 1:
            return
        for _, module in tracked_statistics(runner.model):
            if module.training:
                all_reduce(module.running_mean, op='mean')
                all_reduce(module.running_var, op='mean')
