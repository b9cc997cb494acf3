"""Classifier with a sparse mixture of experts in its backbone."""

from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS

from .auxiliary_losses import AuxiliaryLossMixin


@MODELS.register_module()
class VMoEClassifier(AuxiliaryLossMixin, ImageClassifier):
    """MMPretrain's classifier plus the losses of the backbone's routers.

    Arguments are those of ``ImageClassifier``; any head will do.
    """
