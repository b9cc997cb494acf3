"""Models without what wraps them."""

from mmengine.model import is_model_wrapper
from torch import nn


def bare_model(model: nn.Module) -> nn.Module:
    """A model without what wraps it for several processes or test-time augmentation."""
    while is_model_wrapper(model):
        model = model.module
    return model
