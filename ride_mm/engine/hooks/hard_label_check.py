"""Hook that refuses soft labels for losses that need hard ones."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class HardLabelCheckHook(Hook):
    """Refuses Mixup, CutMix and one-hot labels for hard-label losses, before training.

    A loss declares by ``hard_labels_only`` that it needs class indices.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the data preprocessor with the losses.

        Raises:
            ValueError: If the preprocessor makes soft labels and a loss refuses them.
        """
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        preprocessor = getattr(model, 'data_preprocessor', None)
        makers = [
            name
            for name in ('batch_augments', 'to_onehot')
            if getattr(preprocessor, name, None)
        ]
        losses = {
            type(module).__name__
            for module in model.modules()
            if getattr(module, 'hard_labels_only', False)
        }
        if makers and losses:
            raise ValueError(
                f'{", ".join(sorted(losses))}: expected hard labels, got soft ones '
                f"from the data preprocessor's {' and '.join(makers)}; leave that out "
                'or use a loss that accepts soft labels, such as CrossEntropyLoss'
            )
