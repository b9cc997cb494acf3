"""Features that a frozen classifier makes of images."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def image_features(model: nn.Module, inputs: Tensor) -> Tensor:
    """Map preprocessed images (N, 3, H, W) to their features, (N, D).

    They are what the last layer of the head sees, else what the backbone gives, its
    maps averaged. Those of several experts stand beside each other.

    Raises:
        ValueError: If the model has features of another kind.
    """
    has_pre_logits = model.with_head and hasattr(model.head, 'pre_logits')
    found = model.extract_feat(inputs, stage='pre_logits' if has_pre_logits else 'neck')
    found = found[-1] if isinstance(found, (tuple, list)) else found
    if isinstance(found, Tensor) and found.ndim == 4:
        found = found.mean((2, 3))
    if isinstance(found, Tensor) and found.ndim == 3 and found.shape[1] == len(inputs):
        found = found.transpose(0, 1).flatten(1)  # (E, N, D) to (N, E * D)
    if not isinstance(found, Tensor) or found.shape[:1] + (found.ndim,) != (
        len(inputs),
        2,
    ):
        raise ValueError(
            f'{type(model).__name__}: expected features of shape (N, D), got '
            + (str(tuple(found.shape)) if isinstance(found, Tensor) else str(found))
        )
    return found


@torch.no_grad()
def collect_features(
    model: nn.Module,
    batches: Iterable[dict],
    advance: Callable[[int], object] = lambda images: None,
) -> tuple[Tensor, Tensor]:
    """Features and classes of all images of a data loader, in its order.

    Args:
        model: A classifier in eval mode.
        batches: Of MMPretrain, each a dict of ``inputs`` and ``data_samples``.
        advance: Is told the number of images done.

    Returns:
        Features (N, D) in fp32 and classes (N,), both on the model's device.

    Raises:
        ValueError: If there are no images, or one of several classes.
    """
    features, labels = [], []
    for batch in batches:
        data = model.data_preprocessor(batch, False)
        features.append(image_features(model, data['inputs']).float())
        for sample in data['data_samples']:
            if sample.gt_label.numel() != 1:
                raise ValueError(
                    'expected images of one class each, got one of '
                    f'{sample.gt_label.numel()}'
                )
            labels.append(sample.gt_label.view(1))
        advance(len(data['data_samples']))
    if not features:
        raise ValueError('expected images, got none')
    found = torch.cat(features)
    return found, torch.cat(labels).to(found.device)
