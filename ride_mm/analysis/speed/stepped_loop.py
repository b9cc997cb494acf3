"""A runner that trains step by step, when it is told to."""

from collections.abc import Iterator

from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import LOOPS
from torch import nn


@LOOPS.register_module()
class SteppedTrainLoop(EpochBasedTrainLoop):
    """The epoch-based loop, which ``runner.train()`` prepares but does not run.

    Then each call of :meth:`step` does what an iteration of a training does: it fetches
    a batch and calls the hooks before and after ``train_step``. So two runners, or a
    runner and a bare loop, can be timed in turns.
    """

    def run(self) -> nn.Module:
        """Call the hooks that come before the first batch."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        self._batches = self._endless()
        return self.runner.model

    def step(self) -> None:
        """Train on the next batch; after the last one the first comes again."""
        self.run_iter(*next(self._batches))

    def _endless(self) -> Iterator[tuple[int, dict]]:
        while True:
            yield from enumerate(self.dataloader)
