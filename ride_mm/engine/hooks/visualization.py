"""Hook that draws predictions in the colours of the images."""

from collections.abc import Sequence

from mmengine.model import BaseDataPreprocessor
from mmengine.runner import Runner
from mmpretrain.engine import VisualizationHook
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from torch import nn


@HOOKS.register_module()
class LTVisualizationHook(VisualizationHook):
    """MMPretrain's hook, with red and blue in their places.

    Pictures are drawn in RGB, but batches hold what the pipeline loaded, BGR as a rule.
    MMPretrain's hook draws them as they are; this one turns the channels around where
    the model's preprocessor does so (``to_rgb=True``).
    """

    _to_rgb: bool | None = None

    def before_val(self, runner: Runner) -> None:
        """Ask the model for the order of the channels."""
        self._to_rgb = turns_to_rgb(runner.model)

    before_test = before_val

    def _draw_samples(
        self,
        batch_idx: int,
        data_batch: dict,
        data_samples: Sequence[DataSample],
        step: int = 0,
    ) -> None:
        if self.enable and self._to_rgb:
            # (3, H, W) each; a single channel stays what it is.
            images = [image.flip(0) for image in data_batch['inputs']]
            data_batch = {**data_batch, 'inputs': images}
        super()._draw_samples(batch_idx, data_batch, data_samples, step)


def turns_to_rgb(model: nn.Module) -> bool | None:
    """Whether a model's preprocessor turns BGR into RGB; None if it does not say."""
    for module in model.modules():
        if isinstance(module, BaseDataPreprocessor) and hasattr(module, 'to_rgb'):
            return module.to_rgb
    return None
