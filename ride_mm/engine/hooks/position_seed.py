"""Hook that makes a run's randomness a function of its position."""

from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from ...datasets.position import position_seed, seed_generators
from ...utils.wrapped import wrapped_datasets

# Last part of the seeds: which stream is drawn. Augmentation uses seeds without it.
EPOCH_START, ITERATION = 1, 2


@HOOKS.register_module()
class PositionSeedHook(Hook):
    """Lets sampling, augmentation, mixing and dropout depend on seed and position only.

    So a resumed run equals a straight one, with any number of workers:

    * the sampler draws from (seed, epoch); a resumed run has the checkpoint's seed;
    * datasets with ``set_epoch(epoch, seed)`` augment by (seed, epoch, image);
    * what happens to a batch after loading (Mixup, CutMix, dropout) draws from (seed,
      epoch, iteration, process).

    If neither the dataset nor one that it wraps has ``set_epoch``, one warning is
    logged: with workers, a resumed run then differs in augmentation. So it does in a
    loop by iteration, which has no epochs; there MMEngine's own seeds apply.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Give the seed to the sampler, and look for datasets to be told the epoch."""
        self._seed = base_seed(runner)
        configured = runner.cfg.get('train_dataloader', {}).get('sampler') or {}
        sampler = _sampler(runner.train_dataloader)
        # A resumed run learns its seed after the sampler was built.
        if hasattr(sampler, 'seed') and configured.get('seed') is None:
            sampler.seed = self._seed
        self._positioned = []
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            runner.logger.warning(
                f'{type(runner.train_loop).__name__} tells no epoch to samplers and '
                'datasets: a resumed run will differ from a straight one in the order '
                'and augmentation of its images. Train by epoch to have them equal.'
            )
            return
        dataset = runner.train_dataloader.dataset
        self._positioned = [
            one for one in wrapped_datasets(dataset) if hasattr(one, 'set_epoch')
        ]
        if not self._positioned and runner.train_dataloader.num_workers > 0:
            runner.logger.warning(
                f'{type(dataset).__name__} has no set_epoch(epoch, seed): a resumed '
                'run will differ from a straight one in its augmentation. Wrap it into '
                'LongTailed to have them equal.'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the datasets where the run is."""
        for dataset in self._positioned:
            dataset.set_epoch(runner.epoch, self._seed)
        _seed_all(self._seed, runner.epoch, runner.iter, get_rank(), EPOCH_START)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Seed the generators for this batch, which is already loaded."""
        _seed_all(self._seed, runner.epoch, batch_idx, get_rank(), ITERATION)


def base_seed(runner: Runner) -> int:
    """The run's seed, the same in all processes."""
    if runner._randomness_cfg.get('diff_rank_seed', False):
        return runner.seed - get_rank()
    return runner.seed


def _sampler(dataloader: Any) -> Any:
    """The sampler of a data loader, also one inside of a batch sampler."""
    if hasattr(dataloader.sampler, 'seed'):
        return dataloader.sampler
    return getattr(dataloader.batch_sampler, 'sampler', dataloader.batch_sampler)


def _seed_all(*position: int) -> None:
    seed = position_seed(*position)
    seed_generators(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed(seed)
