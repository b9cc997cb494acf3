"""A long-tailed dataset in memory, fetched by the batch."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.registry import FUNCTIONS
from mmpretrain.registry import DATASETS

from ..structures import LabelBatch
from .long_tailed import LongTailed


class Batch(dict):
    """A batch that tells a collating function which takes it for samples."""

    def __missing__(self, key: object) -> None:
        raise TypeError(
            "collate_fn: expected dict(type='take_batch') for a dataset that is "
            f'fetched by the batch, got one that asks a batch for {key!r}'
        )


@DATASETS.register_module()
class BatchedLongTailed(LongTailed):
    """A ``LongTailed`` whose images lie in memory and come as batches.

    A data loader takes N images by one indexing, without a Python object for each; the
    loader needs ``collate_fn=dict(type='take_batch')``, and is fastest without workers.
    Augmentation belongs into the model's data preprocessor
    (:class:`~ride_mm.models.preprocessing.LTDataPreprocessor`).

    Args:
        *args: Of :class:`LongTailed`. The records of the wrapped dataset hold their
            images as ``img``, uint8 (H, W, 3), as CIFAR's and the digits' do, and its
            pipeline is ``PackInputs`` alone.
        **kwargs: Of :class:`LongTailed`.
    """

    def full_init(self) -> None:
        """Load, choose and check the images, and stack them.

        Raises:
            TypeError: If the records hold no images.
            ValueError: If there is another pipeline, or images differ in size.
        """
        if self._fully_initialized:
            return
        pipeline = getattr(self.dataset, 'pipeline', None)
        names = [type(one).__name__ for one in getattr(pipeline, 'transforms', ())]
        if names != ['PackInputs']:
            raise ValueError(
                "pipeline: expected [dict(type='PackInputs')] in a dataset that is "
                f'fetched by the batch, got {names}; augmentation belongs into '
                'data_preprocessor.batch_transforms'
            )
        super().full_init()
        images = [self.get_data_info(i).get('img') for i in range(len(self))]
        self._images = _stack(images, type(self.dataset).__name__)
        self._label_tensor = torch.from_numpy(self._labels)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Fetch images by their positions.

        Returns:
            ``inputs``, uint8 (N, 3, H, W) in the order of channels of the records, and
            ``data_samples``, a :class:`~ride_mm.structures.LabelBatch`.
        """
        self.full_init()
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        labels = LabelBatch(self._label_tensor[chosen], chosen)
        return Batch(inputs=self._images[chosen], data_samples=labels)


@FUNCTIONS.register_module()
def take_batch(batch: dict) -> dict:
    """Collate what is a batch already: return it.

    Raises:
        TypeError: If it is a list of samples.
    """
    if not isinstance(batch, dict):
        raise TypeError(
            'take_batch: expected a dataset that is fetched by the batch, such as '
            f'BatchedLongTailed, got a {type(batch).__name__} of samples'
        )
    return batch


def _stack(images: Sequence[np.ndarray | None], dataset: str) -> torch.Tensor:
    """N images (H, W, 3) as one tensor (N, 3, H, W)."""
    if any(image is None for image in images):
        raise TypeError(
            f'{dataset}: expected records with their image in memory (img), got none; '
            'images in files are read one by one, by LongTailed'
        )
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise ValueError(f'{dataset}: expected images of one size, got {sizes}')
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
