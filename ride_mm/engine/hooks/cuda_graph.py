"""Hook that turns the training steps on a GPU into CUDA graphs."""

from typing import Any

from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..graphed import GraphedStep, why_not
from .nan_guard import refuse_non_finite


@HOOKS.register_module()
class CUDAGraphHook(Hook):
    """Records the training step of each shape of batch, and replays it.

    A small network such as ResNet-32 keeps a GPU waiting for the hundreds of kernels
    that are launched one by one; a graph launches them together, and computes the same.
    :class:`~ride_mm.engine.graphed.GraphedStep` says what is recorded. On a CPU this
    hook does nothing; where a training cannot be recorded, it says why and leaves it as
    it is.

    Losses come from the GPU when they are logged (``LoggerHook.interval``) and at the
    end of an epoch, those of each step, and are then checked for being finite. Hooks of
    yours that look at ``outputs`` see them in these steps only.

    PyTorch, CUDA graphs (https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).

    Args:
        enable: Whether to record.
    """

    # Before those that look at the losses.
    priority = 'HIGHEST'

    def __init__(self, enable: bool = True) -> None:
        self.enable = enable
        self._step: GraphedStep | None = None

    def before_train(self, runner: Runner) -> None:
        """Put the recorded step in the place of the model's, where that can be."""
        self._step = None
        if not self.enable or not next(runner.model.parameters()).is_cuda:
            return
        reason = why_not(runner.model, runner.optim_wrapper)
        if reason is not None:
            runner.logger.info(f'Training steps are not made CUDA graphs: {reason}.')
            return
        runner.logger.info('Training steps become CUDA graphs.')
        self.install(runner, GraphedStep(runner.model))

    def install(self, runner: Runner, step: GraphedStep) -> None:
        """Let a step take the place of the model's."""
        self._step = step
        self._intervals = [
            hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)
        ]
        runner.model.train_step = step

    def before_train_epoch(self, runner: Runner) -> None:
        """Have the model looked at: a new epoch may have changed it."""
        if self._step is not None:
            self._step.look_again()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Hand over the losses of the steps since they were last logged.

        Raises:
            NonFiniteError: If one is not finite.
        """
        if self._step is None or not self._due(runner, batch_idx):
            return
        *earlier, last = self._step.take_losses()
        for i, losses in enumerate(earlier, batch_idx - len(earlier)):
            refuse_non_finite(runner, i, losses)
            for name, value in losses.items():
                runner.message_hub.update_scalar(f'train/{name}', value)
        outputs.update(last)

    def after_train(self, runner: Runner) -> None:
        """Give the model its own step back, and free the memory."""
        if self._step is not None:
            del runner.model.train_step
            self._step = None

    def _due(self, runner: Runner, batch_idx: int) -> bool:
        return self.end_of_epoch(runner.train_dataloader, batch_idx) or any(
            self.every_n_inner_iters(batch_idx, interval)
            for interval in self._intervals
        )
