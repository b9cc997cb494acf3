"""The original V-MoE's name and layout of each tensor of ours, and the way back.

https://github.com/google-research/vmoe stores kernels as (in, out), attention by heads,
and images with their channels last; MMPretrain's layers are (out, in), with query, key
and value in one. Experts are stacked in the same way on both sides and keep their axes.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..utils.listing import first_few


@dataclass(frozen=True)
class _Layout:
    """How a tensor lies in the original and with us.

    Attributes:
        ours: From the original layout to ours.
        original: Back, given the number of heads and the size of an ensemble.
    """

    ours: Callable[[Tensor], Tensor]
    original: Callable[[Tensor, int, int], Tensor]


SAME = _Layout(lambda x: x, lambda x, heads, members: x)
LINEAR = _Layout(lambda x: x.T, lambda x, heads, members: x.T)
# (P, P, 3, D) and (D, 3, P, P).
PATCHES = _Layout(
    lambda x: x.permute(3, 2, 0, 1), lambda x, heads, members: x.permute(2, 3, 1, 0)
)
# (D, h, d) and (h d, D).
TO_HEADS = _Layout(
    lambda x: x.flatten(1).T,
    lambda x, heads, members: x.T.unflatten(1, (heads, -1)),
)
# (h, d) and (h d).
BIAS_OF_HEADS = _Layout(
    lambda x: x.flatten(), lambda x, heads, members: x.unflatten(0, (heads, -1))
)
# (h, d, D) and (D, h d).
FROM_HEADS = _Layout(
    lambda x: x.flatten(0, 1).T,
    lambda x, heads, members: x.T.unflatten(0, (heads, -1)),
)
# (D, E), of an ensemble of M (D, M, E / M), and (E, D).
ROUTER = _Layout(
    lambda x: x.flatten(1).T,
    lambda x, heads, members: x.T if members == 1 else x.T.unflatten(1, (members, -1)),
)


def _affine(original: str, ours: str, kernel: _Layout = LINEAR) -> list[tuple]:
    return [
        (f'{original}/kernel', f'{ours}.weight', kernel),
        (f'{original}/bias', f'{ours}.bias', SAME),
    ]


def _norm(original: str, ours: str) -> list[tuple]:
    return [
        (f'{original}/scale', f'{ours}.weight', SAME),
        (f'{original}/bias', f'{ours}.bias', SAME),
    ]


def _attention(original: str, ours: str) -> list[tuple]:
    rules = []
    for name in ('query', 'key', 'value'):
        rules += [
            (f'{original}/{name}/kernel', f'{ours}.{name[0]}.weight', TO_HEADS),
            (f'{original}/{name}/bias', f'{ours}.{name[0]}.bias', BIAS_OF_HEADS),
        ]
    return [*rules, *_affine(f'{original}/out', f'{ours}.proj', FROM_HEADS)]


# `#` is the number of the block.
BLOCK, OUR_BLOCK = 'Encoder/encoderblock_#', 'backbone.layers.#'
RULES = [
    ('cls', 'backbone.cls_token', SAME),
    ('Encoder/posembed_input/pos_embedding', 'backbone.pos_embed', SAME),
    *_affine('embedding', 'backbone.patch_embed.projection', PATCHES),
    *_norm('Encoder/encoder_norm', 'backbone.ln1'),
    *_norm(f'{BLOCK}/LayerNorm_0', f'{OUR_BLOCK}.ln1'),
    *_norm(f'{BLOCK}/LayerNorm_1', f'{OUR_BLOCK}.ln2'),
    *_attention(f'{BLOCK}/SelfAttention', f'{OUR_BLOCK}.attn'),
    (f'{BLOCK}/SelfAttention/query_ln/scale', f'{OUR_BLOCK}.attn.q_norm.weight', SAME),
    (f'{BLOCK}/SelfAttention/key_ln/scale', f'{OUR_BLOCK}.attn.k_norm.weight', SAME),
    *_affine(f'{BLOCK}/Mlp/Dense_0', f'{OUR_BLOCK}.ffn.layers.0.0'),
    *_affine(f'{BLOCK}/Mlp/Dense_1', f'{OUR_BLOCK}.ffn.layers.1'),
    (f'{BLOCK}/Moe/Router/dense/kernel', f'{OUR_BLOCK}.ffn.router.weight', ROUTER),
    *_affine(f'{BLOCK}/Moe/Mlp/Dense_0', f'{OUR_BLOCK}.ffn.experts.fc1', SAME),
    *_affine(f'{BLOCK}/Moe/Mlp/Dense_1', f'{OUR_BLOCK}.ffn.experts.fc2', SAME),
    ('MapHead/probe', 'backbone.pool.probe', SAME),
    *_attention('MapHead/MultiHeadDotProductAttention', 'backbone.pool.attn'),
    *_norm('MapHead/LayerNorm', 'backbone.pool.ln'),
    *_affine('MapHead/Mlp/Dense_0', 'backbone.pool.ffn.layers.0.0'),
    *_affine('MapHead/Mlp/Dense_1', 'backbone.pool.ffn.layers.1'),
    *_affine('pre_logits', 'head.layers.pre_logits'),
    *_affine('head', 'head.layers.head'),
]
BY_ORIGINAL = {original: (ours, layout) for original, ours, layout in RULES}
BY_OURS = {ours: (original, layout) for original, ours, layout in RULES}
# Query, key and value of the encoder are one tensor with us, in this order.
PARTS = re.compile(r'(backbone\.layers\.\d+\.attn\.)([qkv])(\.(?:weight|bias))')


def unknown_names(original: Iterable[str]) -> list[str]:
    """Those of the names that no V-MoE has, in their order."""
    return [name for name in original if _pattern(name, '/')[0] not in BY_ORIGINAL]


def ride_mm_state(original: Mapping[str, np.ndarray | Tensor]) -> dict[str, Tensor]:
    """Give the original's tensors our names and layout.

    Args:
        original: Arrays by their name in the original, such as
            ``'Encoder/encoderblock_1/Moe/Router/dense/kernel'``; any part of a network.

    Returns:
        Part of the state dict of a classifier with a ``VMoE`` backbone. Tensors of the
        same layout may share memory with the arrays.

    Raises:
        ValueError: If there is a name that the original does not have, or not all of
            query, key and value of an attention.
    """
    if unknown := unknown_names(original):
        raise ValueError(
            f"expected the names of a V-MoE's tensors, got {first_few(unknown)}"
        )
    state: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, array in original.items():
        pattern, number = _pattern(name, '/')
        ours, layout = BY_ORIGINAL[pattern]
        ours = ours.replace('#', number)
        tensor = layout.ours(_tensor(array)).contiguous()
        if match := PARTS.fullmatch(ours):
            fused = f'{match[1]}qkv{match[3]}'
            parts.setdefault(fused, {})[match[2]] = tensor
        else:
            state[ours] = tensor
    for name, found in parts.items():
        if len(found) < 3:
            missing = ', '.join(sorted(set('qkv') - set(found)))
            raise ValueError(f'{name}: expected query, key and value, got no {missing}')
        state[name] = torch.cat([found[part] for part in 'qkv'])
    return state


def original_state(
    state: Mapping[str, Tensor], num_heads: int, ensemble_size: int = 1
) -> dict[str, Tensor]:
    """Give our tensors the original's names and layout.

    Args:
        state: State dict of a classifier with a ``VMoE`` backbone, or part of it.
        num_heads: Heads of its attention.
        ensemble_size: Members of an ensemble (E3), which share the experts out.

    Returns:
        The original's parameters; names sorted as in its files.

    Raises:
        ValueError: If the original has no such tensor.
    """
    found = {}
    for name, tensor in state.items():
        match = re.fullmatch(r'(.+\.attn\.)qkv(\..+)', name)
        if not match:
            found[name] = tensor
            continue
        for part, chunk in zip('qkv', tensor.chunk(3), strict=True):
            found[f'{match[1]}{part}{match[2]}'] = chunk
    original = {}
    for name, tensor in found.items():
        pattern, number = _pattern(name, '.')
        if pattern not in BY_OURS:
            raise ValueError(f'expected a tensor that a V-MoE has, got {name}')
        theirs, layout = BY_OURS[pattern]
        original[theirs.replace('#', number)] = layout.original(
            tensor, num_heads, ensemble_size
        )
    return dict(sorted(original.items()))


def original_shapes(
    model: nn.Module, ensemble_size: int = 1
) -> dict[str, tuple[int, ...]]:
    """Name and shape of each parameter of a model as the original has them.

    Args:
        model: Classifier with a ``VMoE`` backbone; of shapes alone will do.
        ensemble_size: Of :func:`original_state`.
    """
    heads = model.backbone.arch_settings['num_heads']
    original = original_state(model.state_dict(), heads, ensemble_size)
    return {name: tuple(tensor.shape) for name, tensor in original.items()}


def _tensor(array: np.ndarray | Tensor) -> Tensor:
    if isinstance(array, Tensor):
        return array
    array = np.asarray(array)
    # PyTorch warns of arrays that it could but must not write to.
    array = np.ascontiguousarray(array) if array.flags.writeable else np.array(array)
    return torch.from_numpy(array)


def _pattern(name: str, separator: str) -> tuple[str, str]:
    """A name with ``#`` for the number of its block, and that number."""
    start = BLOCK[:-1] if separator == '/' else OUR_BLOCK[:-1]
    match = re.fullmatch(rf'({re.escape(start)})(\d+)({re.escape(separator)}.+)', name)
    return (f'{match[1]}#{match[3]}', match[2]) if match else (name, '')
