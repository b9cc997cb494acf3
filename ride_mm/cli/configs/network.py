"""The network of a config, and the size of the images that it takes."""

from collections.abc import Mapping

from mmengine.config import Config
from mmpretrain.registry import MODELS

from ...analysis.plain_network import plain_model
from ...models.classifiers import RIDEClassifier
from ...utils.wrapped import innermost_config
from ..errors import UsageError


def build_model(cfg: dict, name: str) -> RIDEClassifier:
    """Build a config's model, with random weights.

    Args:
        cfg: Config of the model.
        name: Of the config, for errors.

    Raises:
        UsageError: If it is no ``RIDEClassifier`` or cannot be built.
    """
    try:
        plain_model(cfg)  # refuses other models
        return MODELS.build(cfg)
    except (KeyError, TypeError, ValueError) as err:
        raise UsageError(f'{name}: {err.args[0]}') from None


def image_size(cfg: Config) -> tuple[int, int]:
    """Find the height and width of the images that a config tests or trains on.

    The last crop or resizing to a fixed square in the pipeline of the test, then of the
    training.

    Raises:
        UsageError: If there is none.
    """
    for name in ('test_dataloader', 'train_dataloader'):
        dataset = (cfg.get(name) or {}).get('dataset') or {}
        for transform in reversed(innermost_config(dataset).get('pipeline') or []):
            side = _side(transform)
            if side is not None:
                return side, side
    raise UsageError(
        '--shape: expected the size of an image, such as --shape 224, for the config '
        'crops or resizes to no fixed square'
    )


def _side(transform: Mapping) -> int | None:
    """Side of the square that a transform leads to, if it does."""
    if transform.get('type') == 'ResizeEdge' or transform.get('keep_ratio'):
        return None
    for key in ('crop_size', 'size', 'scale'):
        value = transform.get(key)
        sides = set(value) if isinstance(value, (tuple, list)) else {value}
        # torchvision's `scale` is a range of areas.
        if len(sides) == 1 and all(type(side) is int for side in sides):
            return sides.pop()
    return None
