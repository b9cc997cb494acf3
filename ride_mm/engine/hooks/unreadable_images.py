"""Hook that says which training images could not be loaded."""

from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from ...datasets.samples import sample_name
from ...datasets.unreadable import MAX_NAMED, describe_unreadable
from ...utils.wrapped import wrapped_datasets


@HOOKS.register_module()
class UnreadableImagesHook(Hook):
    """Reports images that ``LongTailed(unreadable='skip')`` had to replace.

    After each epoch the number of those that any worker of any process has met since
    the start of the program is logged, and the first are named. Without that policy it
    does nothing.
    """

    priority = 'LOW'

    def after_train_epoch(self, runner: Runner) -> None:
        """Report what was met so far."""
        for dataset in wrapped_datasets(runner.train_dataloader.dataset):
            found = getattr(dataset, 'unreadable_images', None)
            if found is None:
                continue
            all_reduce(found, 'max')
            indices = found.nonzero().flatten().tolist()
            if indices:
                infos = [(dataset.get_data_info(i), i) for i in indices[:MAX_NAMED]]
                names = [sample_name(info, i) for info, i in infos]
                runner.logger.warning(
                    describe_unreadable(names, len(indices), len(found))
                )

    def after_train(self, runner: Runner) -> None:
        """Report at the end of a training that has no epochs."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            self.after_train_epoch(runner)
