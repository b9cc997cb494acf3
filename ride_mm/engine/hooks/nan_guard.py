"""Hook that stops a run whose loss is no number."""

import math
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..checkpoint_io import latest_checkpoint
from .bare_model import bare_model

HINT = (
    'Lower the learning rate or clip gradients '
    '(--cfg-options optim_wrapper.clip_grad.max_norm=5); with --amp fp16 try '
    '--amp bf16'
)


class NonFiniteError(RuntimeError):
    """A loss or a parameter that is NaN or infinite."""


def loss_terms(outputs: dict | None) -> dict[str, float]:
    """The entries of a training step's outputs whose names contain ``loss``."""
    return {
        name: float(value.detach() if isinstance(value, torch.Tensor) else value)
        for name, value in (outputs or {}).items()
        if 'loss' in name and isinstance(value, (int, float, torch.Tensor))
    }


def refuse_non_finite(runner: Runner, batch_idx: int, outputs: dict | None) -> None:
    """Stop at losses that are not finite in all processes.

    Args:
        runner: Of the training.
        batch_idx: Of the iteration, in its epoch.
        outputs: What its training step returned.

    Raises:
        NonFiniteError: If one is not finite.
    """
    terms = loss_terms(outputs)
    failed = torch.tensor(int(not all(map(math.isfinite, terms.values()))))
    if get_world_size() > 1:
        # Gradients are shared: what fails in one process has failed in all.
        all_reduce(failed, op='max')
    if failed:
        values = ', '.join(f'{name}={value:g}' for name, value in terms.items())
        raise NonFiniteError(
            f'epoch {runner.epoch + 1}, iteration {batch_idx + 1} of '
            f'{len(runner.train_dataloader)}: expected finite losses in all '
            f'processes, got {values}. {_last_checkpoint(runner)}. {HINT}'
        )


@HOOKS.register_module()
class NaNGuardHook(Hook):
    """Stops training at a loss that is NaN or infinite in any process.

    No checkpoint is written of it, nor of parameters that are not finite; the last one
    before stays in place.
    """

    priority = 'VERY_HIGH'

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the loss terms of this iteration.

        Raises:
            NonFiniteError: If one is not finite.
        """
        refuse_non_finite(runner, batch_idx, outputs)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse to save parameters that the last step has spoilt.

        Raises:
            NonFiniteError: If a parameter is not finite.
        """
        model = bare_model(runner.model)
        spoilt = [
            name
            for name, parameter in model.named_parameters()
            if not parameter.isfinite().all()
        ]
        if spoilt:
            raise NonFiniteError(
                f'epoch {runner.epoch + 1}: expected finite parameters to save, got '
                f'NaN or inf in {len(spoilt)} of them, first {spoilt[0]}. '
                f'{_last_checkpoint(runner)}. {HINT}'
            )


def _last_checkpoint(runner: Runner) -> str:
    last = latest_checkpoint(runner.work_dir)
    if last is None:
        return 'There is no checkpoint yet'
    return f'The last good checkpoint is {last}'
