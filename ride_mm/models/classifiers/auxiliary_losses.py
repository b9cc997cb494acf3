"""The losses of routers inside of a backbone, as part of a classifier's loss."""

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from ..layers.moe import Report, collect_reports


class AuxiliaryLossMixin:
    """Adds ``loss_moe`` to the losses of a classifier whose backbone has routers.

    It is the sum over layers of the mean over groups. Beside it, means over layers and
    groups are logged: ``moe_importance``, ``moe_load``, ``moe_gshard`` before
    weighting, and ``moe_dropped``, the share of assignments without room. A backbone
    without routers changes nothing, nor does the loss of a router that is frozen with
    all before it: it is a constant.
    """

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Compute the losses of images (N, 3, H, W), those of routers too.

        Raises:
            RuntimeError: If a router's loss has no gradient, as under activation
                checkpointing of the reentrant kind.
        """
        with collect_reports() as reports:
            losses = self.main_losses(inputs, data_samples)
        # A teacher's layers are not among the modules.
        own = {id(module) for module in self.modules()}
        reports = [report for report in reports if id(report.layer) in own]
        if not reports:
            return losses
        found = [r for r in reports if r.loss is not None and _counts(r)]
        if found:
            losses['loss_moe'] = sum(report.loss.mean() for report in found)
        # A layer in eval mode has no noise, thus fewer terms.
        for name in dict.fromkeys(name for report in reports for name in report.terms):
            values = [
                report.terms[name].detach().mean()
                for report in reports
                if name in report.terms
            ]
            losses[f'moe_{name}'] = torch.stack(values).mean()
        return losses

    def main_losses(
        self, inputs: Tensor, data_samples: list[DataSample]
    ) -> dict[str, Tensor]:
        """Compute the losses of images (N, 3, H, W) without those of routers."""
        return super().loss(inputs, data_samples)


def _counts(report: Report) -> bool:
    """Whether a router's loss is more than a constant to what learns."""
    if report.loss.requires_grad or not torch.is_grad_enabled():
        return True
    if any(p.requires_grad for p in report.layer.router.parameters()):
        raise RuntimeError(
            "loss_moe: expected a gradient for the router's loss, got none: the layer "
            'ran without one, as under activation_checkpointing, which is of the '
            'reentrant kind; set model.backbone.with_cp=True in its place'
        )
    return False
