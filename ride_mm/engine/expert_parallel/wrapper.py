"""Model wrapper: data parallel all but the experts."""

from typing import Any

from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from ...models.layers.moe.expert_groups import make_expert_groups
from .shards import experts_of


# In MMEngine's own registry, the only one that its runner looks into.
@MODEL_WRAPPERS.register_module()
class ExpertParallel(MMDistributedDataParallel):
    """MMEngine's wrapper, but each process of a group has a part of the experts.

    Tokens travel to their experts and back. All else is copied to every process, and
    the results are those of one process with the joint batch. ``ExpertParallelHook``
    splits the experts when training or testing begins.

    Args:
        module: The model, with one or more layers of experts.
        size: Processes that share the experts, successive ones; by default all of them.
            It divides their number and that of the experts of each layer.
        **kwargs: Of :class:`mmengine.model.MMDistributedDataParallel`.

    Raises:
        ValueError: If there are no experts, or the sizes do not divide.
    """

    def __init__(
        self, module: nn.Module, size: int | None = None, **kwargs: Any
    ) -> None:
        layers = experts_of(module)
        if not layers:
            raise ValueError(
                'model_wrapper_cfg: ExpertParallel expected a model with a MoELayer, '
                'such as that of a VMoE, got one without'
            )
        groups = make_expert_groups(size)
        for name, layer in layers.items():
            if layer.num_experts % groups.size:
                raise ValueError(
                    'model_wrapper_cfg.size: expected a divisor of '
                    f'{layer.num_experts}, the number of experts of {name}, got '
                    f'{groups.size}'
                )
            layer.groups = groups
        if groups.size > 1:
            module._ddp_params_and_buffers_to_ignore = [
                *getattr(module, '_ddp_params_and_buffers_to_ignore', ()),
                *(f'{name}.{p}' for name, e in layers.items() for p in e.state_dict()),
            ]
        # What MMEngine sets without a config of the wrapper.
        kwargs.setdefault('broadcast_buffers', False)
        super().__init__(module=module, **kwargs)
        self.groups = groups

    def train_step(self, *args: Any, **kwargs: Any) -> dict:
        """Take a step.

        Raises:
            RuntimeError: If nobody has split the experts.
        """
        whole = [n for n, e in experts_of(self.module).items() if not e.is_split]
        if whole and self.groups.size > 1:
            raise RuntimeError(
                f'ExpertParallel: expected experts that are split, got {whole[0]} '
                "whole; default_hooks lack dict(type='ExpertParallelHook')"
            )
        return super().train_step(*args, **kwargs)
