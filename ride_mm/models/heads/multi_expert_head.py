"""Head with one classifier per expert."""

from collections.abc import Sequence
from typing import Literal

import torch
from mmengine.model import ModuleList
from mmpretrain.evaluation.metrics import Accuracy
from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...structures import batch_targets, on_cpu
from ..layers import ClassCountsMixin, CosineLinear, modules_wanting_class_counts


@MODELS.register_module()
class MultiExpertHead(ClassCountsMixin, ClsHead):
    """E classifiers, the losses of RIDE's first stage, and the joint decision.

    Wang et al., RIDE, ICLR 2021, section 3. The decision is the mean of the experts'
    logits. The loss is ``sum_e [loss(l_e) + diversity_e]`` as the authors sum it (the
    paper's 1/n is a constant). One expert behaves as a plain head.

    Args:
        num_classes: Number of classes, C.
        in_channels: Channels of an expert's feature, D; ``RIDEClassifier`` fills in the
            backbone's ``out_channels``.
        num_experts: Number of experts, E; ``RIDEClassifier`` fills in its own.
        classifier: ``'cosine'`` or ``'linear'`` (with bias).
        scale: Scale of the cosine classifier's logits.
        loss: Any registered classification loss, applied to each expert's logits, in
            one call. A loss that counts images itself, as ``SeesawLoss`` does, counts
            each E times; a class not seen yet then weighs as after E times the images.
        diversity: Config of :class:`DiversityLoss`, or ``None``.
        collaborative: Apply the classification loss to the mean logits instead, E times
            (RIDE's ablation).
        topk: Of the training accuracy.
        cal_acc: Whether to log the training accuracy of the joint decision.
        keep_expert_logits: Whether predictions hold the logits of each expert.
        class_counts: Training images of each class, (C,); by default handed over by
            ``ClassCountsHook``.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int | None = None,
        num_experts: int = 1,
        classifier: Literal['cosine', 'linear'] = 'cosine',
        scale: float = 30.0,
        loss: dict | nn.Module | None = None,
        diversity: dict | nn.Module | None = None,
        collaborative: bool = False,
        topk: int | tuple[int, ...] = (1,),
        cal_acc: bool = False,
        keep_expert_logits: bool = False,
        class_counts: Sequence[int] | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = dict(type='Normal', layer='Linear', std=0.01)
        super().__init__(
            loss=loss or dict(type='CrossEntropyLoss', loss_weight=1.0),
            topk=topk,
            cal_acc=cal_acc,
            init_cfg=init_cfg,
        )
        if num_classes < 1:
            raise ValueError(f'num_classes: expected >= 1, got {num_classes}')
        if in_channels is None:
            raise ValueError(
                'in_channels: expected the channels of an expert, got None; inside a '
                "RIDEClassifier it follows from the backbone's out_channels"
            )
        if not scale > 0:
            raise ValueError(f'scale: expected a number > 0, got {scale}')
        if classifier not in ('cosine', 'linear'):
            raise ValueError(
                f"classifier: expected 'cosine' or 'linear', got {classifier!r}"
            )
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.num_experts = num_experts
        self.collaborative = collaborative
        self.keep_expert_logits = keep_expert_logits
        self.classifiers = ModuleList(
            CosineLinear(in_channels, num_classes, scale)
            if classifier == 'cosine'
            else nn.Linear(in_channels, num_classes)
            for _ in range(num_experts)
        )
        self.diversity_loss = (
            MODELS.build(diversity) if isinstance(diversity, dict) else diversity
        )
        self._check_reduction()
        self._check_margin_scale(scale if classifier == 'cosine' else 1.0)
        self.init_class_counts(num_classes, class_counts)
        self._allocate_class_counts(class_counts)

    def _check_reduction(self) -> None:
        reduction = getattr(self.loss_module, 'reduction', 'mean')
        if reduction != 'mean':
            raise ValueError(
                f"{type(self.loss_module).__name__}: expected reduction='mean', of "
                f"which the experts' sum is the loss, got {reduction!r}"
            )

    def _check_margin_scale(self, scale: float) -> None:
        margin_scale = getattr(self.loss_module, 'scale', scale)
        if margin_scale != scale:
            raise ValueError(
                f'{type(self.loss_module).__name__}: expected the scale of the '
                f"classifier's logits, {scale}, got scale={margin_scale}"
            )

    def _allocate_class_counts(self, class_counts: Sequence[int] | None) -> None:
        for name, module in modules_wanting_class_counts(self):
            number = len(module.class_counts)
            if name and number == 0:
                module.init_class_counts(self.num_classes, class_counts)
            elif number != self.num_classes:
                raise ValueError(
                    f'class_counts of {type(module).__name__}: expected '
                    f'{self.num_classes} numbers, one for each class, got {number}'
                )

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Stack the experts' pooled features, E times (N, D), to (E, N, D).

        Raises:
            ValueError: If there is not one feature per expert.
        """
        if len(feats) != self.num_experts:
            raise ValueError(
                f'{type(self).__name__}: expected one feature for each of '
                f'{self.num_experts} experts, got {len(feats)}'
            )
        return torch.stack(tuple(feats))

    def score_expert(self, feature: Tensor, e: int) -> Tensor:
        """Map expert ``e``'s pooled feature (N, D) to its logits (N, C), fp32."""
        return self.classifiers[e](feature).float()

    def expert_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Map E pooled features (N, D) to the logits of all experts, (E, N, C)."""
        features = self.pre_logits(feats)
        return torch.stack([self.score_expert(f, e) for e, f in enumerate(features)])

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Map E pooled features (N, D) to the joint logits, (N, C)."""
        return self.expert_logits(feats).mean(0)

    def loss(
        self, feats: tuple[Tensor, ...], data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Compute the losses of E pooled features (N, D).

        Returns:
            ``loss_cls``, with a diversity loss ``loss_div``, and with ``cal_acc``
            ``accuracy_top-k``.
        """
        return self._get_loss(self.expert_logits(feats), data_samples, **kwargs)

    def _get_loss(
        self, expert_logits: Tensor, data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        target = batch_targets(data_samples)
        losses = dict(
            loss_cls=self.classification_loss(expert_logits, target, **kwargs)
        )
        if self.diversity_loss is not None and self.num_experts > 1:
            losses['loss_div'] = self.diversity_loss(expert_logits)
        if self.cal_acc:
            if target.ndim > 1:
                raise ValueError(
                    'cal_acc: expected hard labels, got soft ones (Mixup, CutMix)'
                )
            accuracy = Accuracy.calculate(expert_logits.mean(0), target, self.topk)
            named = zip(self.topk, accuracy, strict=True)
            losses.update({f'accuracy_top-{k}': value for k, value in named})
        return losses

    def classification_loss(
        self, expert_logits: Tensor, target: Tensor, **kwargs
    ) -> Tensor:
        """Sum the classification loss over the experts.

        Args:
            expert_logits: (E, N, C).
            target: Class indices (N,), or soft labels (N, C).
            **kwargs: Handed to the loss.

        Returns:
            A scalar.
        """
        num_experts = len(expert_logits)
        if self.collaborative:
            logits = expert_logits.mean(0)
        else:
            # The mean over E * N rows, times E, is the sum over experts of their means.
            logits = expert_logits.flatten(0, 1)
            target = target.repeat(num_experts, *[1] * (target.ndim - 1))
        mean_loss = self.loss_module(logits, target, avg_factor=len(logits), **kwargs)
        return num_experts * mean_loss

    def predict(
        self,
        feats: tuple[Tensor, ...],
        data_samples: list[DataSample | None] | None = None,
    ) -> list[DataSample]:
        """Fill the data samples with the joint decision.

        Args:
            feats: E pooled features, (N, D).
            data_samples: N samples to fill; new ones by default.

        Returns:
            The samples with ``pred_score`` (C,), a probability, ``pred_label`` (1,),
            and ``expert_pred_label`` (E,), the decision of each expert on its own; with
            ``keep_expert_logits`` also ``expert_logits`` (E, C). All are moved
            to the CPU at once: reading them one by one from a GPU takes longer than
            the forward pass.
        """
        logits = self.expert_logits(feats).cpu()
        return self._get_predictions(logits, on_cpu(data_samples))

    def _get_predictions(
        self, expert_logits: Tensor, data_samples: list[DataSample | None] | None
    ) -> list[DataSample]:
        samples = super()._get_predictions(expert_logits.mean(0), data_samples)
        labels = expert_logits.argmax(-1).T  # (N, E)
        for n, sample in enumerate(samples):
            sample.set_field(labels[n], 'expert_pred_label')
            if self.keep_expert_logits:
                sample.set_field(expert_logits[:, n], 'expert_logits')
        return samples
