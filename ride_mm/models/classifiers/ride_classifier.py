"""Classifier made of diverse experts."""

from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from torch import nn


@MODELS.register_module()
class RIDEClassifier(ImageClassifier):
    """MMPretrain's classifier for a backbone and a head with experts.

    It is the one place that owns the number of experts: ``--cfg-options
    model.num_experts=4`` reaches backbone and head. The head's ``in_channels`` follow
    from the backbone. ``mode='tensor'`` returns the final logits (N, C).

    Args:
        backbone: Config of an :class:`ExpertBackbone`.
        neck: Config of the pooling; it receives a tuple of E maps.
        head: Config of a :class:`MultiExpertHead`.
        num_experts: Number of experts, E.
        **kwargs: Of MMPretrain's ``ImageClassifier``.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        num_experts: int = 3,
        **kwargs,
    ) -> None:
        backbone = _with_num_experts(backbone, num_experts, 'backbone')
        if isinstance(backbone, dict):
            backbone = MODELS.build(backbone)
        if head is not None:
            head = _with_num_experts(head, num_experts, 'head')
            if isinstance(head, dict):
                head = _with_in_channels(head, backbone)
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        self.num_experts = num_experts
        if getattr(self.data_preprocessor, 'num_classes', 0) is None and self.with_head:
            # Else MMPretrain's ClassNumCheckHook refuses what the user need not say.
            self.data_preprocessor.num_classes = self.head.num_classes


def _with_num_experts(part: dict | nn.Module, num_experts: int, name: str):
    given = (
        part.get('num_experts', num_experts)
        if isinstance(part, dict)
        else part.num_experts
    )
    if given != num_experts:
        raise ValueError(
            f'{name}.num_experts: expected {num_experts}, the num_experts of the '
            f'RIDEClassifier, got {given}; set model.num_experts only'
        )
    return dict(part, num_experts=num_experts) if isinstance(part, dict) else part


def _with_in_channels(head: dict, backbone: nn.Module) -> dict:
    expected = backbone.out_channels
    given = head.get('in_channels') or expected
    if given != expected:
        raise ValueError(
            f"head.in_channels: expected {expected}, the backbone's out_channels, got "
            f'{given}; leave it out'
        )
    return dict(head, in_channels=expected)
