"""Head with a router between its experts."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ...structures import batch_targets, on_cpu
from ..layers import ExpertRouter
from ..losses.router_loss import router_loss, router_targets, running_means
from ..routing import Routed, route
from .multi_expert_head import MultiExpertHead


@MODELS.register_module()
class RouterHead(MultiExpertHead):
    """Experts and the routers that decide how many of them a sample asks.

    RIDE's second stage, Wang et al., ICLR 2021, section 3.3. Inside a
    ``RIDEClassifier`` only the routers learn, and an expert that is not asked is not
    computed. Stage one's losses, which a config inherits, are kept but not used.

    Args:
        num_classes: Number of classes, C.
        in_channels: Channels of an expert's feature, D; filled in by the classifier.
        num_experts: Number of experts, E >= 2; filled in by the classifier.
        top_z: Of :class:`ExpertRouter`: 30 for CIFAR and ResNet-10, 50 for larger
            networks in the paper.
        hidden_channels: Of :class:`ExpertRouter`.
        shared: Of :class:`ExpertRouter`.
        router_init: ``'kaiming'`` or ``'default'``, of :class:`ExpertRouter`.
        pos_weight: Weight in the loss of a sample that should go on.
        thresholds: A sample asks another expert where the router's probability is
            above this; one number, or one for each of E - 1 routers, in [0, 1]: 0
            always asks, 1 never does. ``None`` takes the checkpoint's, or 0.5.
        threshold_logits: The same as logits, instead; for thresholds so close to 0 or 1
            that probabilities cannot tell them from others.
        **kwargs: Of :class:`MultiExpertHead`.
    """

    hard_labels_only = True
    # The hook of deferred re-weighting passes over the losses inside of this module.
    losses_idle = True

    def __init__(
        self,
        num_classes: int,
        in_channels: int | None = None,
        num_experts: int = 3,
        top_z: int = 30,
        hidden_channels: int = 16,
        shared: bool = True,
        router_init: Literal['kaiming', 'default'] = 'kaiming',
        pos_weight: float = 100.0,
        thresholds: float | Sequence[float] | None = None,
        threshold_logits: float | Sequence[float] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(num_classes, in_channels, num_experts, **kwargs)
        if not 0 < pos_weight < math.inf:
            raise ValueError(f'pos_weight: expected a number > 0, got {pos_weight}')
        self.pos_weight = pos_weight
        self.router = ExpertRouter(
            num_experts,
            in_channels,
            num_classes,
            top_z,
            hidden_channels,
            shared,
            router_init,
        )
        self.register_buffer('threshold_logits', torch.zeros(num_experts - 1))
        given = (thresholds is not None) + (threshold_logits is not None)
        if given > 1:
            raise ValueError(
                'thresholds: expected probabilities or threshold_logits, got both'
            )
        self._configured = given > 0
        if thresholds is not None:
            self.set_thresholds(thresholds)
        if threshold_logits is not None:
            values = self._for_each_router('threshold_logits', threshold_logits)
            self.threshold_logits.copy_(torch.tensor(values))

    @property
    def thresholds(self) -> list[float]:
        """Probability above which a sample goes on, after each expert but the last."""
        return self.threshold_logits.double().sigmoid().tolist()

    def set_thresholds(self, thresholds: float | Sequence[float]) -> None:
        """Set the probability above which a sample goes on.

        Args:
            thresholds: One number for all E - 1 routers, or one for each, in [0, 1].

        Raises:
            ValueError: If there are not so many, or one is outside of [0, 1].
        """
        values = self._for_each_router('thresholds', thresholds)
        for value in values:
            if not 0 <= value <= 1:
                raise ValueError(
                    f'thresholds: expected probabilities from 0 to 1, got {value!r}'
                )
        logits = torch.tensor(values, dtype=torch.float64).logit()
        self.threshold_logits.copy_(logits)

    def _for_each_router(
        self, name: str, given: float | Sequence[float]
    ) -> Sequence[float]:
        """One number for each router, from these or from one."""
        routers = self.num_experts - 1
        given = given.tolist() if hasattr(given, 'tolist') else given
        values = given if isinstance(given, (list, tuple)) else [given] * routers
        if len(values) != routers:
            raise ValueError(
                f'{name}: expected one number or {routers}, one after each expert but '
                f'the last, got {len(values)}'
            )
        for value in values:
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or math.isnan(value):
                raise ValueError(f'{name}: expected numbers, got {value!r}')
        return values

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        if self._configured:  # The config's thresholds go before the checkpoint's.
            state_dict[prefix + 'threshold_logits'] = self.threshold_logits.clone()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def loss(
        self, feats: tuple[Tensor, ...], data_samples: list[DataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Compute the routers' loss from E pooled features (N, D).

        Returns:
            ``loss_router``; and, to be watched, ``router_needed``, the share of
            decisions in which going on would have helped, and ``router_accuracy``,
            the share in which the router is right about that at its threshold.

        Raises:
            ValueError: If the labels are soft.
        """
        label = batch_targets(data_samples)
        if label.ndim > 1:
            raise ValueError(
                'RouterHead: expected hard labels, got soft ones (Mixup, CutMix)'
            )
        features = self.pre_logits(feats)
        means = running_means(self.expert_logits(feats))
        targets = router_targets(means, label)
        scores = torch.stack(
            [self.router(features[i], means[i], i) for i in range(len(targets))]
        )
        asked = scores > self.threshold_logits[:, None]
        return dict(
            loss_router=router_loss(scores, targets, self.pos_weight),
            router_needed=targets.mean(),
            router_accuracy=(asked == targets.bool()).float().mean(),
        )

    def route(self, x: Tensor, feature: Callable[[Tensor, int], Tensor]) -> Routed:
        """Ask expert after expert, computing none that is not asked.

        Args:
            x: What the experts work on, (N, ...).
            feature: Maps n rows of ``x`` and an expert's index to its pooled feature,
                (n, D).

        Returns:
            Logits and number of experts of each sample.
        """

        def ask(rows: Tensor, e: int) -> tuple[Tensor, Tensor]:
            pooled = feature(rows, e)
            return pooled, self.score_expert(pooled, e)

        return route(
            x,
            self.num_experts,
            ask,
            self.router,
            self.threshold_logits,
            self.keep_expert_logits,
        )

    def predict(
        self,
        feats: tuple[Tensor, ...],
        data_samples: list[DataSample | None] | None = None,
    ) -> list[DataSample]:
        """Fill the data samples with the routed decision on E pooled features (N, D).

        All features are there already; ``RIDEClassifier`` computes only what is asked.
        """
        features = self.pre_logits(feats).transpose(0, 1)  # (N, E, D)
        routed = self.route(features, lambda rows, e: rows[:, e])
        return self.predict_routed(routed, data_samples)

    def predict_routed(
        self, routed: Routed, data_samples: list[DataSample | None] | None = None
    ) -> list[DataSample]:
        """Fill the data samples with a routed decision.

        Returns:
            The samples with ``pred_score`` (C,), ``pred_label`` (1,) and
            ``num_experts``, k; with ``keep_expert_logits`` also ``expert_logits``
            (k, C) and ``router_scores``, the logits of the routers asked. All but
            these two are on the CPU.
        """
        # Past MultiExpertHead, which sees all experts.
        samples = ClsHead._get_predictions(
            self, routed.logits.cpu(), on_cpu(data_samples)
        )
        used = routed.num_experts.tolist()
        for n, (sample, k) in enumerate(zip(samples, used, strict=True)):
            sample.set_field(k, 'num_experts')
            if routed.expert_logits is not None:
                sample.set_field(routed.expert_logits[n, :k], 'expert_logits')
                sample.set_field(routed.router_scores[n, :k], 'router_scores')
        return samples
