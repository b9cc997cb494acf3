"""A teacher that a student refers to, but does not own."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .heads import MultiExpertHead
from .losses.knowledge import Knowledge


class Teacher:
    """A frozen classifier outside of the student's modules.

    It is no ``nn.Module``, so that it is not in the ``state_dict``, parameters and
    copies of the model that refers to it, hence not in the optimizer, DDP and EMA.

    Args:
        classifier: Any MMPretrain classifier; with experts, they decide jointly.
        eval_mode: In eval mode. ``False`` leaves it in training mode as the authors of
            RIDE do: BatchNorm works with the batch's statistics (and keeps its own),
            dropout drops.
    """

    def __init__(self, classifier: nn.Module, eval_mode: bool = True) -> None:
        self.classifier = classifier.requires_grad_(False).train(not eval_mode)
        if not eval_mode:
            for layer in classifier.modules():
                if isinstance(layer, _BatchNorm):
                    layer.train().track_running_stats = False

    @torch.no_grad()
    def __call__(self, inputs: Tensor, features: bool = True) -> Knowledge:
        """What it knows about images (N, 3, H, W), preprocessed as the student's."""
        if not getattr(self.classifier, 'with_head', False):
            logits = _as_logits(self.classifier(inputs, mode='tensor'))
            return Knowledge(logits[None])
        feats = self.classifier.extract_feat(inputs)
        return knowledge(self.classifier.head, feats, features)

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        return self


def knowledge(
    head: nn.Module, feats: tuple[Tensor, ...], features: bool = True
) -> Knowledge:
    """What a classification head makes of a network's features.

    Args:
        head: MMPretrain's, or one with experts.
        feats: What the neck returns.
        features: Whether the features are asked for, too.
    """
    if isinstance(head, MultiExpertHead):
        pooled = head.pre_logits(feats) if features else None
        return Knowledge(head.expert_logits(feats), pooled)
    pooled = head.pre_logits(feats)[None] if features else None
    return Knowledge(_as_logits(head(feats))[None], pooled)


def _as_logits(output: object) -> Tensor:
    if isinstance(output, Tensor) and output.ndim == 2:
        return output
    got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise TypeError(f'teacher: expected one tensor of logits (N, C), got {got}')
