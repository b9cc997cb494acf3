"""Classifier made of diverse experts."""

import copy

import torch
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..backbones.expert_backbone import freeze
from ..distillation import build_distillation, distillation_losses
from ..heads import RouterHead
from ..layers import MoELayer
from ..routing import Routed
from ..teacher import Teacher
from .auxiliary_losses import AuxiliaryLossMixin


@MODELS.register_module()
class RIDEClassifier(AuxiliaryLossMixin, ImageClassifier):
    """MMPretrain's classifier for a backbone and a head with experts.

    It is the one place that owns the number of experts: ``--cfg-options
    model.num_experts=4`` reaches backbone and head. The head's ``in_channels`` follow
    from the backbone. ``mode='tensor'`` returns the final logits (N, C).

    With a :class:`RouterHead`, logits and predictions are routed: the trunk is computed
    once, then expert by expert for the samples that still ask. Only the routers learn;
    all else is frozen, BatchNorm's statistics too.

    Args:
        backbone: Config of an :class:`ExpertBackbone`.
        neck: Config of the pooling; it receives a tuple of E maps. None for a backbone
            that pools itself.
        head: Config of a :class:`MultiExpertHead`.
        num_experts: Number of experts, E.
        distill: Configs of distillation losses by name, such as
            ``dict(kd=dict(type='KDLoss'))``, which are logged as ``loss_kd``; ``None``
            in place of a config leaves one out. They compare this network with the
            teacher that ``KDHook`` hangs into :attr:`teacher`.
        channels_last: Whether images are laid out in memory with the channels last,
            which lets convolutions on a CPU skip reordering; with routers the frozen
            weights too. ``None`` does so on CPUs.
        **kwargs: Of MMPretrain's ``ImageClassifier``.

    Raises:
        ValueError: If backbone, neck and head do not fit, or a :class:`RouterHead`
            meets a V-MoE that routes several images together.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        num_experts: int = 3,
        distill: dict[str, dict | None] | None = None,
        channels_last: bool | None = None,
        **kwargs,
    ) -> None:
        backbone = _with_num_experts(backbone, num_experts, 'backbone')
        if isinstance(backbone, dict):
            backbone = MODELS.build(backbone)
        _check_neck(neck, backbone)
        if head is not None:
            head = _with_num_experts(head, num_experts, 'head')
            if isinstance(head, dict):
                head = _with_in_channels(head, backbone)
        for name, augments in (
            ('train_cfg', 'augments'),
            ('data_preprocessor', 'batch_augments'),
        ):
            if isinstance(kwargs.get(name), dict):
                # MMPretrain appends to the list of probabilities of batch augments.
                kwargs[name] = copy.deepcopy(kwargs[name])
                _with_float_alpha(kwargs[name].get(augments))
        super().__init__(backbone=backbone, neck=neck, head=head, **kwargs)
        if self.routed:
            _check_groups(self.backbone)
        self.num_experts = num_experts
        self.channels_last = channels_last
        # No module: it belongs neither to the checkpoint nor to the optimizer.
        self.teacher: Teacher | None = None
        self.distill = build_distillation(distill, self)
        if getattr(self.data_preprocessor, 'num_classes', 0) is None and self.with_head:
            # Else MMPretrain's ClassNumCheckHook refuses what the user need not say.
            self.data_preprocessor.num_classes = self.head.num_classes
        self.train(self.training)

    @property
    def routed(self) -> bool:
        """Whether routers decide how many experts a sample asks."""
        return self.with_head and isinstance(self.head, RouterHead)

    def train(self, mode: bool = True) -> 'RIDEClassifier':
        """Set the mode; with routers, all else stays frozen in eval mode."""
        super().train(mode)
        if self.routed:
            freeze(list(self.children()))
            self.head.router.train(mode).requires_grad_(True)
            last = self._wants_channels_last(next(self.parameters()))
            # Else each convolution reorders its weight at each call.
            self.backbone.to(
                memory_format=torch.channels_last if last else torch.contiguous_format
            )
        return self

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | list[DataSample] | dict[str, Tensor]:
        """Compute logits, predictions or losses of images (N, 3, H, W).

        Args:
            inputs: Preprocessed images.
            data_samples: Their labels, or samples to fill.
            mode: ``'tensor'`` for logits (N, C), ``'predict'`` or ``'loss'``.
        """
        if mode == 'tensor' and self.routed:
            return self.route(inputs).logits
        return super().forward(inputs, data_samples, mode)

    def extract_feat(self, inputs: Tensor, stage: str = 'neck') -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to the features of all experts.

        Args:
            inputs: Preprocessed images.
            stage: Of MMPretrain's ``ImageClassifier``.
        """
        return super().extract_feat(self._lay_out(inputs), stage)

    def main_losses(
        self, inputs: Tensor, data_samples: list[DataSample]
    ) -> dict[str, Tensor]:
        """Compute the losses of images (N, 3, H, W), those of distillation too."""
        if not self.distill:
            return super().main_losses(inputs, data_samples)
        feats = self.extract_feat(inputs)
        return distillation_losses(
            self.distill, self.head, self.teacher, inputs, feats, data_samples
        )

    def predict(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, **kwargs
    ) -> list[DataSample]:
        """Fill the data samples, routed if there are routers."""
        if not self.routed:
            return super().predict(inputs, data_samples, **kwargs)
        return self.head.predict_routed(self.route(inputs), data_samples)

    def route(self, inputs: Tensor) -> Routed:
        """Ask the experts about images (N, 3, H, W), those only that are wanted.

        Raises:
            TypeError: If there are no routers.
        """
        if not self.routed:
            raise TypeError(
                'route: expected a RouterHead, got '
                f'{type(self.head).__name__ if self.with_head else "no head"}'
            )
        trunk = self.backbone.forward_trunk(self._lay_out(inputs))
        return self.head.route(trunk, self.pooled_feature)

    def pooled_feature(self, trunk: Tensor, e: int) -> Tensor:
        """Map the trunk's feature map to expert ``e``'s pooled feature, (N, D)."""
        maps = (self.backbone.forward_expert(trunk, e),)
        return (self.neck(maps) if self.with_neck else maps)[0]

    def _lay_out(self, images: Tensor) -> Tensor:
        if images.ndim == 4 and self._wants_channels_last(images):
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def _wants_channels_last(self, x: Tensor) -> bool:
        if self.channels_last is None:
            return x.device.type == 'cpu'
        return self.channels_last


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


def _with_float_alpha(augments: dict | list | None) -> None:
    """Take 1 for 1.0, which MMPretrain insists on for Mixup and CutMix, in place."""
    if isinstance(augments, dict) and 'augments' in augments:
        augments = augments['augments']
    for augment in augments if isinstance(augments, (list, tuple)) else [augments]:
        if isinstance(augment, dict) and type(augment.get('alpha')) is int:
            augment['alpha'] = float(augment['alpha'])


def _check_neck(neck: dict | None, backbone: nn.Module) -> None:
    if neck is not None and getattr(backbone, 'pools', False):
        raise ValueError(
            'neck: expected None, for the backbone pools by itself, got '
            f'{neck["type"] if isinstance(neck, dict) else type(neck).__name__}'
        )


def _check_groups(backbone: nn.Module) -> None:
    """Refuse V-MoE layers whose groups would change when an image stops.

    Those of the trunk see all images, but are refused too: no backbone says which are.
    """
    for layer in backbone.modules():
        if isinstance(layer, MoELayer) and layer.images_per_group > 1:
            raise ValueError(
                'images_per_group: expected 1 with a RouterHead, for an image that '
                f'stops would leave its group, got {layer.images_per_group}'
            )


def _with_in_channels(head: dict, backbone: nn.Module) -> dict:
    expected = backbone.out_channels
    given = head.get('in_channels') or expected
    if given != expected:
        raise ValueError(
            f"head.in_channels: expected {expected}, the backbone's out_channels, got "
            f'{given}; leave it out'
        )
    return dict(head, in_channels=expected)
