"""Hook that starts deferred re-weighting (DRW)."""

from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn


def deferred_modules(model: nn.Module) -> Iterator[nn.Module]:
    """Modules with deferred re-weighting, but none inside of ``losses_idle`` ones."""
    if getattr(model, 'losses_idle', False):
        return
    if getattr(model, 'deferred', False):
        yield model
    for child in model.children():
        yield from deferred_modules(child)


@HOOKS.register_module()
class DeferredReweightHook(Hook):
    """Switches re-weighting and class-wise temperature on after ``reweight_epoch``.

    DRW, Cao et al., NeurIPS 2019, section 3.3. Modules that wait for it have
    ``deferred`` and ``set_reweighting(active)``. The state follows from the runner's
    epoch alone, so a resumed run has it right.

    Args:
        reweight_epoch: Re-weighting is active in 1-based epochs greater than this (160
            of 200 on CIFAR: first in the 161st). ``None`` never starts it.
    """

    training_settings = ('reweight_epoch',)

    def __init__(self, reweight_epoch: int | None = None) -> None:
        if reweight_epoch is not None and not (
            isinstance(reweight_epoch, int) and reweight_epoch >= 0
        ):
            raise ValueError(
                f'reweight_epoch: expected None or a whole number >= 0, got '
                f'{reweight_epoch!r}'
            )
        self.reweight_epoch = reweight_epoch

    def before_train(self, runner: Runner) -> None:
        """Refuse a schedule that would never take effect.

        Raises:
            ValueError: If ``reweight_epoch`` leaves no epoch, or a loss waits for a
                hook that never starts.
        """
        waiting = [type(m).__name__ for m in deferred_modules(runner.model)]
        if self.reweight_epoch is None:
            if waiting:
                raise ValueError(
                    f'{", ".join(waiting)} waits for re-weighting: expected '
                    'default_hooks.reweight.reweight_epoch to be an epoch, got None; '
                    "or set the loss's reweight to None or 'always' (a diversity "
                    "loss's deferred to False)"
                )
            return
        if self.reweight_epoch >= runner.max_epochs:
            raise ValueError(
                'default_hooks.reweight.reweight_epoch: expected less than max_epochs='
                f'{runner.max_epochs}, got {self.reweight_epoch}: it would never take '
                "effect; train.py's --epochs scales the whole schedule"
            )
        if not waiting:
            runner.logger.warning(
                f'reweight_epoch={self.reweight_epoch} has no effect: no loss has '
                "reweight='deferred'"
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the state that belongs to the epoch."""
        active = self.reweight_epoch is not None and runner.epoch >= self.reweight_epoch
        if active and runner.epoch == self.reweight_epoch:
            runner.logger.info(
                f'Epoch {runner.epoch + 1}: deferred re-weighting starts'
            )
        for module in deferred_modules(runner.model):
            module.set_reweighting(active)
