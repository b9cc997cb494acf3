"""Hook that keeps a moving average of the weights."""

from typing import Any

from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..checkpoint_io import CheckpointError
from .sync_batch_norm_stats import saves_within_epoch, tracked_statistics


@HOOKS.register_module()
class LTEMAHook(EMAHook):
    """MMEngine's EMAHook, adapted to the other hooks of ride_mm.

    Validation and the checkpoint's ``state_dict`` have the averaged weights; what
    training goes on with lies beside them. Unlike in MMEngine's,

    * BatchNorm's statistics are averaged with the weights that they belong to, and over
      processes, before anyone uses them;
    * all other buffers are the model's own: class counts, thresholds of routers, the
      bank of CRD, numbers of batches;
    * a run is resumed with the same averaging only (see ``ScheduleGuardHook``);
    * testing takes the checkpoint's ``state_dict`` as it is.

    The average has a memory of about 1 / momentum iterations, which should be much
    shorter than the training: 0.001 is 1000 iterations.

    Args:
        momentum: Share of the newest weights in the average, in (0, 1); None for an
            average that has none.
        ema_type: Of MMEngine's averages, ``'ExponentialMovingAverage'``,
            ``'MomentumAnnealingEMA'`` or ``'StochasticWeightAverage'``.
        begin_epoch: First epoch, counted from 1, whose weights are averaged; until then
            the average is a copy of the model. Not together with ``begin_iter``.
        begin_iter: The same in iterations.
        **kwargs: Of MMEngine's averages, such as ``interval``.
    """

    # After the BatchNorm statistics of the processes are one.
    priority = 'BELOW_NORMAL'
    training_settings = ('ema_cfg', 'begin_iter', 'begin_epoch')

    def __init__(
        self,
        momentum: float | None = 0.001,
        ema_type: str = 'ExponentialMovingAverage',
        begin_epoch: int = 0,
        begin_iter: int = 0,
        **kwargs: Any,
    ) -> None:
        if momentum is not None:
            if not 0 < momentum < 1:
                raise ValueError(
                    f'momentum: expected a number in (0, 1), got {momentum}'
                )
            kwargs['momentum'] = momentum
        for name, value in dict(begin_epoch=begin_epoch, begin_iter=begin_iter).items():
            if type(value) is not int or value < 0:
                raise ValueError(f'{name}: expected a whole number >= 0, got {value!r}')
        if begin_epoch and begin_iter:
            raise ValueError(
                'begin_epoch, begin_iter: expected one of them, got '
                f'{begin_epoch} and {begin_iter}'
            )
        if not kwargs.pop('update_buffers', True):
            raise ValueError(
                "update_buffers: expected True, since the average needs BatchNorm's "
                "statistics of its own, got False; MMEngine's EMAHook has it"
            )
        super().__init__(
            ema_type=ema_type,
            begin_epoch=begin_epoch,
            begin_iter=begin_iter,
            update_buffers=True,
            **kwargs,
        )
        self._stale = False

    def before_run(self, runner: Runner) -> None:
        """Copy the model, unless a training in this process has left an average."""
        if not self._averages:
            super().before_run(runner)

    def before_train(self, runner: Runner) -> None:
        """Follow what hooks have changed in the model since it was copied.

        Raises:
            ValueError: If the averaging would never begin.
        """
        for name, last in (('epoch', runner.max_epochs), ('iter', runner.max_iters)):
            begin = getattr(self, f'begin_{name}')
            if begin > last:
                raise ValueError(
                    f'begin_{name}: expected at most max_{name}s={last}, got {begin}'
                )
        average = self.ema_model.module
        for name, buffer in self.src_model.named_buffers():
            owner, _, leaf = name.rpartition('.')
            module = average.get_submodule(owner)
            if getattr(module, leaf).shape != buffer.shape:
                setattr(module, leaf, buffer.clone())
        self.ema_model.avg_parameters = average.state_dict()

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Move the average; have one in all processes before a checkpoint is saved."""
        super().after_train_iter(runner, *args, **kwargs)
        self._stale = True
        if saves_within_epoch(runner):
            self._share_statistics()

    def after_train_epoch(self, runner: Runner) -> None:
        """Have one average in all processes before the checkpoint is saved."""
        self._share_statistics()

    def before_val_epoch(self, runner: Runner) -> None:
        """Validate the average, once there is one."""
        self._share_statistics()
        self._use_average()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the average, and what training goes on with."""
        self._take_other_buffers()
        super().before_save_checkpoint(runner, checkpoint)

    def before_test_epoch(self, runner: Runner) -> None:
        """Test the average; a checkpoint has it as its ``state_dict``."""
        self._use_average()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Resume the average.

        Raises:
            CheckpointError: If a run is to be resumed that had none.
        """
        if not runner._resume:  # It begins as a copy.
            return
        if 'ema_state_dict' not in checkpoint:
            raise CheckpointError(
                'resume: expected a checkpoint of a run with LTEMAHook, got one '
                'without ema_state_dict; to start anew from its weights set load_from '
                'instead'
            )
        super().after_load_checkpoint(runner, checkpoint)

    @property
    def _averages(self) -> bool:
        """Whether there is an average, and not just a copy."""
        model = getattr(self, 'ema_model', None)
        return model is not None and bool(model.steps > 0)

    def _use_average(self) -> None:
        if self._averages:
            self._take_other_buffers()
            super()._swap_ema_parameters()

    def _swap_ema_parameters(self) -> None:
        if self._averages:
            super()._swap_ema_parameters()

    def _take_other_buffers(self) -> None:
        """Take the buffers that are no average as they are in the model."""
        averaged = {
            f'{name}.{which}'
            for name, _ in tracked_statistics(self.src_model)
            for which in ('running_mean', 'running_var')
        }
        own = dict(self.src_model.named_buffers())
        for name, buffer in self.ema_model.module.named_buffers():
            if name not in averaged:
                buffer.copy_(own[name])

    def _share_statistics(self) -> None:
        """Average BatchNorm's statistics over processes."""
        if not self._stale or get_world_size() == 1:
            return
        self._stale = False
        for name, layer in tracked_statistics(self.src_model):
            if layer.training:
                average = self.ema_model.module.get_submodule(name)
                all_reduce(average.running_mean, op='mean')
                all_reduce(average.running_var, op='mean')
