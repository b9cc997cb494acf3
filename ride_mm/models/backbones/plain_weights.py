"""Weights of a plain network for a backbone with experts."""

from mmengine.logging import print_log
from torch import Tensor


def expand_plain_weights(
    state_dict: dict[str, Tensor],
    prefix: str,
    own: dict[str, Tensor],
    num_experts: int,
    expert_stages: tuple[str, ...],
) -> None:
    """Rename a plain network's stages to those of every expert, in place.

    ``layer4.0.conv1.weight`` becomes ``experts.e.layer4.0.conv1.weight`` for every e
    whose shape fits; a stage that has an unfitting tensor is left out as a whole, so
    that no expert starts half pretrained. A state dict that already has experts is left
    alone.

    Args:
        state_dict: What is being loaded.
        prefix: Of the backbone's keys in ``state_dict``.
        own: The backbone's own state dict.
        num_experts: E.
        expert_stages: Names of the stages that each expert has of its own.
    """
    stage_prefixes = tuple(f'{prefix}{stage}.' for stage in expert_stages)
    plain = {k: v for k, v in state_dict.items() if k.startswith(stage_prefixes)}
    if not plain or any(k.startswith(f'{prefix}experts.') for k in state_dict):
        return
    taken, fresh = [], []
    for stage in expert_stages:
        tensors = {
            k.removeprefix(prefix): v
            for k, v in plain.items()
            if k.startswith(f'{prefix}{stage}.')
        }
        unfitting = [
            f'{name}: expected {tuple(own[f"experts.0.{name}"].shape)}, '
            f'got {tuple(tensor.shape)}'
            for name, tensor in tensors.items()
            if f'experts.0.{name}' in own
            and own[f'experts.0.{name}'].shape != tensor.shape
        ]
        if unfitting:
            fresh.append(f'{stage} ({unfitting[0]}; {len(unfitting)} such tensors)')
            continue
        taken.append(stage)
        for e in range(num_experts):
            for name, tensor in tensors.items():
                state_dict[f'{prefix}experts.{e}.{name}'] = tensor
    for key in plain:
        del state_dict[key]
    trunk = [k for k in own if not k.startswith('experts.')]
    found = sum(
        prefix + k in state_dict and state_dict[prefix + k].shape == own[k].shape
        for k in trunk
    )
    print_log(
        f'Weights of a plain network: trunk takes {found} of {len(trunk)} tensors; '
        f'each of {num_experts} experts takes {", ".join(taken) or "no stage"}; '
        f'left as initialised: {"; ".join(fresh) or "no stage"}',
        logger='current',
    )
