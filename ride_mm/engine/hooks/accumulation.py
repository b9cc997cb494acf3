"""Hook that ends each window of accumulated gradients with its epoch."""

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS
from torch import nn


@HOOKS.register_module()
class EpochAccumulationHook(Hook):
    """Lets no window of ``optim_wrapper.accumulative_counts`` reach into a next epoch.

    MMEngine counts iterations over the whole training, so that an epoch may end with
    gradients of a step that is yet to come, which no checkpoint holds. Here the last
    window of an epoch is a smaller one where the numbers do not divide: the mean over
    its own batches. So a resumed run equals a straight one.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Count the iterations anew."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        wrapper = runner.optim_wrapper
        several = isinstance(wrapper, OptimWrapperDict)
        for one in wrapper.values() if several else [wrapper]:
            # MMEngine has warned of the model's BatchNorm when the run began.
            one.initialize_count_status(nn.Identity(), 0, len(runner.train_dataloader))
