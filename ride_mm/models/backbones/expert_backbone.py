"""The contract of a backbone with several experts."""

from abc import ABCMeta, abstractmethod
from functools import partial

from mmengine.logging import print_log
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers import side_by_side
from .plain_weights import spread_plain_weights


class ExpertBackbone(BaseBackbone, metaclass=ABCMeta):
    """A trunk that all experts share, and late stages of each expert's own.

    Nothing else reaches inside: routing, distillation and the cost of parts use
    :meth:`forward_trunk`, :meth:`forward_expert` and ``num_experts`` only. ``forward``
    keeps MMPretrain's contract and returns a tuple, one feature map per expert.

    A state dict of a plain network (``expert_stages`` at the top level) loads into the
    trunk and into every expert whose shapes fit; what was loaded is reported.

    Args:
        num_experts: Number of experts, E >= 1.
        expert_stages: Names of the stages that each expert has of its own.
        frozen_stages: The last stage that does not learn; -1 for none, 0 is the stem.
        norm_eval: Keep BatchNorm's statistics fixed during training.
        init_cfg: MMEngine's initialization.
    """

    out_channels: int

    def __init__(
        self,
        num_experts: int,
        expert_stages: tuple[str, ...],
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if type(num_experts) is not int or num_experts < 1:
            raise ValueError(
                f'num_experts: expected a whole number >= 1, got {num_experts!r}'
            )
        self.num_experts = num_experts
        self.expert_stages = expert_stages
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self._register_load_state_dict_pre_hook(self._take_plain_weights)

    @abstractmethod
    def forward_trunk(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to the shared feature map (N, D', H', W')."""

    @abstractmethod
    def forward_expert(self, trunk: Tensor, e: int) -> Tensor:
        """Map the shared feature map to expert ``e``'s, (N, D, H'', W'')."""

    @abstractmethod
    def stages(self) -> list[list[nn.Module | nn.Parameter]]:
        """What each stage is made of, from the stem on, of all experts together."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to E feature maps (N, D, H'', W'')."""
        experts = [partial(self.forward_expert, e=e) for e in range(self.num_experts)]
        return side_by_side(experts, self.forward_trunk(x))

    def freeze_stages(self) -> None:
        """Take the first stages out of the training; once the stages are built.

        Raises:
            ValueError: If there are not so many stages.
        """
        stages = self.stages()
        if not -1 <= self.frozen_stages < len(stages):
            raise ValueError(
                f'frozen_stages: expected -1 to {len(stages) - 1}, got '
                f'{self.frozen_stages}'
            )
        for stage in stages[: self.frozen_stages + 1]:
            freeze(stage)

    def train(self, mode: bool = True) -> 'ExpertBackbone':
        """Set the mode; frozen stages stay in eval mode."""
        super().train(mode)
        self.freeze_stages()
        if mode and self.norm_eval:
            freeze_batch_norm_statistics(self)
        return self

    def spread_plain_weights(
        self, state_dict: dict[str, Tensor], prefix: str = ''
    ) -> str | None:
        """Rename a plain network's tensors to those of trunk and experts, in place.

        Args:
            state_dict: Of the plain network; one with experts is left alone.
            prefix: Of the backbone's names in it.

        Returns:
            What is taken, in words; None if it is left alone.
        """
        return spread_plain_weights(
            state_dict,
            prefix,
            self.state_dict(),
            self.num_experts,
            self.expert_stages,
        )

    def _take_plain_weights(self, state_dict, prefix, *args) -> None:
        told = self.spread_plain_weights(state_dict, prefix)
        if told:
            print_log(told, logger='current')


def freeze(parts: list[nn.Module | nn.Parameter]) -> None:
    """Put modules into eval mode and take them, or parameters, out of the training."""
    for part in parts:
        part.requires_grad_(False)
        if isinstance(part, nn.Module):
            part.eval()


def freeze_batch_norm_statistics(module: nn.Module) -> None:
    """Put all BatchNorm layers into eval mode; their affine parameters still learn."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.eval()
