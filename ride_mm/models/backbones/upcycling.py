"""Sparse upcycling: a dense vision transformer's weights as the start of a V-MoE."""

import re
from collections.abc import Mapping

from torch import Size, Tensor

# A block's MLP in MMPretrain's vision transformers: first and second layer.
DENSE = re.compile(r'(layers\.\d+\.ffn\.)layers\.(0\.0|1)\.(weight|bias)')
LAYERS = {'0.0': 'fc1', '1': 'fc2'}


def upcycle(
    state_dict: dict[str, Tensor], shapes: Mapping[str, Size], prefix: str = ''
) -> list[str]:
    """Copy each dense MLP to all experts of the block in its place, in place.

    Komatsuzaki et al., Sparse Upcycling, ICLR 2023, section 2. A dense network
    has no routers, so they stay as initialised. Where a block is dense in both, and in
    a state dict with experts, nothing changes.

    Args:
        state_dict: Of MMPretrain's ``VisionTransformer`` or whatever contains one.
        shapes: Shape of each tensor of the ``VMoE``, without the prefix.
        prefix: Of the backbone's names in the state dict, such as ``'backbone.'``.

    Returns:
        The names of the experts' tensors that were made.

    Raises:
        ValueError: If an MLP is not of the experts' size.
    """
    made = []
    for name in [name for name in state_dict if name.startswith(prefix)]:
        own = name.removeprefix(prefix)
        match = DENSE.fullmatch(own)
        if match is None or own in shapes:
            continue
        block, layer, kind = match.groups()
        target = f'{block}experts.{LAYERS[layer]}.{kind}'
        if target not in shapes:
            continue
        tensor, shape = state_dict[name], shapes[target]
        tensor = tensor.T if kind == 'weight' else tensor
        if tensor.shape != shape[1:]:
            raise ValueError(
                f'{name}: expected a layer of the size of the experts, '
                f'{tuple(shape[1:])} in and out, got {tuple(tensor.shape)}'
            )
        del state_dict[name]
        state_dict[f'{prefix}{target}'] = tensor.expand(shape).contiguous()
        made.append(f'{prefix}{target}')
    return made
