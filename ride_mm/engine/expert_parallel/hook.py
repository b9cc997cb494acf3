"""Hook that splits experts over processes, and saves them whole."""

from functools import partial
from typing import Any

import torch
from mmengine.dist import all_gather
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from .clipping import clip_split_norm_
from .shards import experts_of, split_experts, whole_experts
from .wrapper import ExpertParallel


@HOOKS.register_module()
class ExpertParallelHook(Hook):
    """Divides the experts among processes to compute, and joins them for checkpoints.

    MMEngine initializes, loads and resumes the whole model in each process, from
    checkpoints of any number of processes. When training or testing begins, each
    process keeps its experts and their part of the optimizer's state. For a checkpoint
    the first process gets all of them, in the memory of the CPU, so that the file is
    that of one process.

    Without the wrapper ``ExpertParallel`` it does nothing.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Split the experts, clip across processes, and save whole.

        Raises:
            ValueError: If the optimizer scales losses, which would go on differently in
                each process after an overflow.
        """
        if not self._is_on(runner):
            return
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper) or isinstance(
            wrapper, AmpOptimWrapper
        ):
            raise ValueError(
                'ExpertParallel: expected optim_wrapper.type OptimWrapper or '
                f'AutocastOptimWrapper (--amp bf16), got {type(wrapper).__name__}'
            )
        self._split(runner)
        clip_across(wrapper, runner.model)

    def before_val(self, runner: Runner) -> None:
        """Split the experts, if training has not done so."""
        self._before_evaluation(runner, 'val_dataloader')

    def before_test(self, runner: Runner) -> None:
        """Split the experts, if training has not done so."""
        self._before_evaluation(runner, 'test_dataloader')

    def _before_evaluation(self, runner: Runner, name: str) -> None:
        """Split, unless the processes have different numbers of batches.

        Raises:
            ValueError: If they do: a process would wait for tokens that never come.
        """
        if not self._is_on(runner):
            return
        loop = runner.val_loop if name == 'val_dataloader' else runner.test_loop
        batches = all_gather(torch.tensor(len(loop.dataloader)))
        if len({int(number) for number in batches}) > 1:
            raise ValueError(
                f'{name}: ExpertParallel expected as many batches in each process, got '
                f'{[int(number) for number in batches]}; leave sampler.round_up=True'
            )
        self._split(runner)

    def _split(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper  # Of a test a config, if at all.
        optimizer = wrapper.optimizer if isinstance(wrapper, OptimWrapper) else None
        if split := split_experts(runner.model.module, optimizer):
            groups = runner.model.groups
            runner.logger.info(
                f'Experts of {split} layers are split over {groups.size} of '
                f'{groups.processes} processes'
            )
        for model in _averages(runner):
            split_experts(model)
        if 'save_checkpoint' not in vars(runner):
            runner.save_checkpoint = partial(_save_whole, runner)

    @staticmethod
    def _is_on(runner: Runner) -> bool:
        return isinstance(runner.model, ExpertParallel) and runner.model.groups.size > 1


def clip_across(wrapper: OptimWrapper, model: ExpertParallel) -> None:
    """Have an optimizer wrapper clip by the norm over all processes, if by a norm."""
    if not wrapper.clip_grad_kwargs:
        return
    if wrapper.clip_func is torch.nn.utils.clip_grad_norm_:
        layers = experts_of(model.module).values()
        wrapper.clip_func = partial(
            clip_split_norm_,
            split=frozenset(id(p) for e in layers for p in e.parameters()),
            group=model.groups.exchange,
        )


def _averages(runner: Runner) -> list[nn.Module]:
    """Models with averaged weights, which hooks hold."""
    found = [getattr(hook, 'ema_model', None) for hook in runner.hooks]
    return [model.module for model in found if model is not None]


def _save_whole(runner: Runner, *args: Any, **kwargs: Any) -> None:
    """Save a checkpoint of all experts."""
    models = [runner.model.module, *_averages(runner)]
    with whole_experts(models, runner.optim_wrapper.optimizer):
        type(runner).save_checkpoint(runner, *args, **kwargs)
