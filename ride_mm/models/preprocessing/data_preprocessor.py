"""Data preprocessor that augments whole batches."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import MODELS, TRANSFORMS

from ...structures import LabelBatch


@MODELS.register_module()
class LTDataPreprocessor(ClsDataPreprocessor):
    """MMPretrain's preprocessor with augmentation on the model's device.

    In training the images of a batch, as they are loaded, go through
    ``batch_transforms`` together, before colours and normalization, Mixup and CutMix.
    What is drawn follows from (seed, epoch, iteration, process), see
    :class:`~ride_mm.engine.hooks.PositionSeedHook`, so a resumed run equals a straight
    one. Labels may come as a :class:`~ride_mm.structures.LabelBatch`, which stays one.

    Args:
        batch_transforms: Configs of transforms of images (N, 3, H, W), such as
            :class:`~ride_mm.models.preprocessing.BatchRandomCrop`.
        **kwargs: Of MMPretrain's ``ClsDataPreprocessor``.
    """

    def __init__(self, batch_transforms: Sequence[dict] = (), **kwargs) -> None:
        super().__init__(**kwargs)
        # A GPU is not waited for while it is given its next batch.
        self._non_blocking = True
        self.batch_transforms = [TRANSFORMS.build(one) for one in batch_transforms]

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs``, uint8 images (N, 3, H, W) or N of (3, H, W), and
                ``data_samples`` with their labels.
            training: Whether to augment.

        Returns:
            ``inputs``, float images (N, 3, H', W'), and ``data_samples``.

        Raises:
            ValueError: If images to be augmented together differ in size.
        """
        inputs = self.cast_data(data['inputs'])
        if training and self.batch_transforms:
            inputs = _stacked(inputs)
            for transform in self.batch_transforms:
                inputs = transform(inputs)
        samples = data.get('data_samples')
        if not isinstance(samples, LabelBatch):
            return super().forward(dict(data, inputs=inputs), training)
        inputs = super().forward(dict(inputs=inputs), training)['inputs']
        samples = samples.to(self.device, self._non_blocking)
        if self.to_onehot:
            scores = F.one_hot(samples.labels, self.num_classes).float()
            if training and self.batch_augments is not None:
                inputs, scores = self.batch_augments(inputs, scores)
            samples = samples.with_scores(scores)
        return dict(inputs=inputs, data_samples=samples)


def _stacked(images: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    if isinstance(images, torch.Tensor):
        return images
    sizes = {tuple(image.shape) for image in images}
    if len(sizes) > 1:
        raise ValueError(
            'batch_transforms: expected images of one size, got '
            f'{", ".join(str(size) for size in sorted(sizes))}; resize or crop them in '
            "the dataset's pipeline"
        )
    return torch.stack(list(images))
