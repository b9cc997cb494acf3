"""What a student and its teacher know about a batch."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Knowledge:
    """Logits and features of one network, which distillation compares with another's.

    A network without experts has one.

    Attributes:
        expert_logits: (E, N, C).
        features: Pooled feature of each expert, (E, N, D); ``None`` where no loss looks
            at it.
    """

    expert_logits: Tensor
    features: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """The joint decision, the mean of the experts' logits, (N, C)."""
        return self.expert_logits.mean(0)

    @property
    def joint_feature(self) -> Tensor:
        """The experts' features side by side, (N, E * D), fp32."""
        return self.features.transpose(0, 1).flatten(1).float()
