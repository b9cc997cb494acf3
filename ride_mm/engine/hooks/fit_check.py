"""Hook that refuses to test or resume a checkpoint of another model."""

import re
from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from ..checkpoint_io import CheckpointError

# Known without the checkpoint, or not needed by a model that is not trained on.
OPTIONAL = ('class_counts', 'num_batches_tracked')
MAX_NAMED = 3


@HOOKS.register_module()
class FitCheckHook(Hook):
    """Refuses a checkpoint whose tensors are not those of the model.

    MMEngine tests the model with whatever fits and random numbers elsewhere. Starting a
    training from another model's weights (``load_from``) stays as loose as it is.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes when testing and resuming.

        Raises:
            CheckpointError: With the first differences.
        """
        training = isinstance(runner._train_loop, BaseLoop)
        if training and not runner._resume:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        found = misfits(
            _named(model.state_dict()), _named(checkpoint.get('state_dict', checkpoint))
        )
        if found:
            more = f'\n  and {len(found) - MAX_NAMED} more' * (len(found) > MAX_NAMED)
            raise CheckpointError(
                'the checkpoint is not of the model that the config describes:\n  '
                + '\n  '.join(found[:MAX_NAMED])
                + more
            )


def _named(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name, without what wrappers put before it."""
    return {re.sub(r'^(module\.)+', '', k): v for k, v in state_dict.items()}


def count_experts(state_dict: Mapping[str, Tensor]) -> int:
    """Number of experts that the names of a state dict speak of."""
    indices = {m[1] for k in state_dict if (m := re.search(r'\bexperts\.(\d+)\.', k))}
    return len(indices)


def misfits(model: Mapping[str, Tensor], checkpoint: Mapping[str, Tensor]) -> list[str]:
    """Name each difference between a model's tensors and a checkpoint's.

    Args:
        model: State dict of the model.
        checkpoint: State dict of the checkpoint.

    Returns:
        A line for each; a differing number of experts comes first.
    """
    lines = []
    experts = count_experts(model), count_experts(checkpoint)
    if 0 not in experts and experts[0] != experts[1]:
        lines.append(
            f'experts: expected {experts[0]}, got {experts[1]} (does --cfg-options '
            f'model.num_experts={experts[1]} belong to it?)'
        )
    for name in [*model, *(k for k in checkpoint if k not in model)]:
        if name.endswith(OPTIONAL):
            continue
        expected, got = model.get(name), checkpoint.get(name)
        if _shape(expected) != _shape(got):
            lines.append(f'{name}: expected {_shape(expected)}, got {_shape(got)}')
    return lines


def _shape(tensor: Tensor | None) -> str:
    return 'no such tensor' if tensor is None else f'shape {tuple(tensor.shape)}'
