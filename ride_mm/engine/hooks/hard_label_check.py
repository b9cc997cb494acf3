"""Hook that refuses mixed images and soft labels where they make no sense."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from .bare_model import bare_model


@HOOKS.register_module()
class HardLabelCheckHook(Hook):
    """Refuses Mixup, CutMix and one-hot labels before training where they do not fit.

    A module declares by ``hard_labels_only`` that it needs class indices, and by
    ``whole_images_only`` that it needs images that are not mixed. The training accuracy
    (``cal_acc``) needs class indices, too.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the data preprocessor with the modules.

        Raises:
            ValueError: If the preprocessor mixes images or makes soft labels, and a
                module refuses them.
        """
        model = bare_model(runner.model)
        preprocessor = getattr(model, 'data_preprocessor', None)
        makers = [
            name
            for name in ('batch_augments', 'to_onehot')
            if getattr(preprocessor, name, None)
        ]
        losses = declaring(model, 'hard_labels_only')
        if makers and losses:
            raise ValueError(
                f'{losses}: expected hard labels, got soft ones from the data '
                f"preprocessor's {' and '.join(makers)}; leave that out"
            )
        measured = declaring(model, 'cal_acc')
        if makers and measured:
            raise ValueError(
                f'{measured}: expected cal_acc=False, since the labels are soft (data '
                f"preprocessor's {' and '.join(makers)}), got cal_acc=True"
            )
        losses = declaring(model, 'whole_images_only')
        if 'batch_augments' in makers and losses:
            raise ValueError(
                f'{losses}: expected images that are not mixed, got Mixup or CutMix '
                "from the data preprocessor's batch_augments; leave one of them out"
            )


def declaring(model: nn.Module, attribute: str) -> str:
    """Names of the kinds of modules that have a true attribute, comma-separated."""
    found = {type(m).__name__ for m in model.modules() if getattr(m, attribute, False)}
    return ', '.join(sorted(found))
