"""Weights of a plain network for a backbone with experts."""

from collections.abc import Callable, Sequence

from torch import Tensor

Weights = dict[str, Tensor]
# What MMPretrain resizes itself while it loads, for other images or windows.
RESIZED = (
    'pos_embed',
    'absolute_pos_embed',
    'relative_position_bias_table',
    'relative_position_index',
)
# Maps the name of a tensor, the plain network's and one's own to what is taken.
Cut = Callable[[str, Tensor, Tensor], Tensor | None]


def spread_plain_weights(
    state_dict: Weights,
    prefix: str,
    own: Weights,
    num_experts: int,
    parts: Sequence[str],
    trunk: str = '',
    cut: Cut | None = None,
) -> str | None:
    """Rename a plain network's tensors to those of the trunk and of every expert.

    ``layer4.0.conv1.weight`` becomes ``experts.e.layer4.0.conv1.weight`` for every e. A
    part that has a tensor of an unfitting shape is left out as a whole, so that nothing
    starts half pretrained, unless ``cut`` makes it fit. A state dict that already has
    experts is left alone.

    Args:
        state_dict: What is being loaded; changed in place.
        prefix: Of the backbone's keys in ``state_dict``.
        own: The backbone's own state dict.
        num_experts: E.
        parts: Names of what is taken as a whole or not at all, in the plain network;
            what belongs to none of them is taken tensor by tensor.
        trunk: Prefix of the trunk's keys in ``own``.
        cut: Makes an unfitting tensor fit, or gives None.

    Returns:
        What is taken, in words; None if the state dict is left alone.
    """
    plain = {
        k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)
    }
    late = [name for name in plain if f'experts.0.{name}' in own]
    if not late or any(name.startswith('experts.') for name in plain):
        return None
    spread, told = {}, []
    experts = [f'experts.{e}.' for e in range(num_experts)]
    for who, homes in (('trunk', [trunk]), (f'each of {num_experts} experts', experts)):
        mine = {
            n.removeprefix(homes[0]): t
            for n, t in own.items()
            if n.startswith(homes[0])
        }
        mine = {n: t for n, t in mine.items() if not n.startswith('experts.')}
        taken, report = take(plain, mine, parts, cut)
        spread.update(
            {prefix + home + n: t for home in homes for n, t in taken.items()}
        )
        told.append(f'{who} {report}')
        for name in mine.keys() & plain.keys():
            state_dict.pop(prefix + name, None)
    state_dict.update(spread)
    return f'Weights of a plain network: {"; ".join(told)}'


def take(
    plain: Weights, own: Weights, parts: Sequence[str], cut: Cut | None = None
) -> tuple[Weights, str]:
    """Choose what a part of the network takes of a plain network's weights.

    Args:
        plain: State dict of the plain network.
        own: State dict of the part, under the plain network's names.
        parts: As in :func:`spread_plain_weights`.
        cut: As there.

    Returns:
        What is taken, and a sentence's rest that tells it.
    """
    grouped: dict[str, list[str]] = {}
    for name in own:
        if name in plain:
            part = next(
                (p for p in parts if name == p or name.startswith(f'{p}.')), name
            )
            grouped.setdefault(part, []).append(name)
    taken, sliced, fresh = {}, 0, []
    for part, names in grouped.items():
        tensors, unfitting = {}, []
        for name in names:
            tensors[name] = plain[name]
            resized = name.rpartition('.')[2] in RESIZED
            if plain[name].shape != own[name].shape and not resized:
                unfitting.append(name)
                tensors[name] = cut and cut(name, plain[name], own[name])
        if any(tensor is None for tensor in tensors.values()):
            first = unfitting[0]
            fresh.append(
                f'{part} ({first}: expected {tuple(own[first].shape)}, got '
                f'{tuple(plain[first].shape)}; {len(unfitting)} such tensors)'
            )
        else:
            taken.update(tensors)
            sliced += len(unfitting)
    told = f'takes {len(taken)} of {len(own)} tensors'
    if sliced:
        told += f', {sliced} of them cut to its width'
    if fresh:
        told += f', left as initialised: {", ".join(fresh)}'
    return taken, told


def leading_part(plain: Tensor, own: Tensor, blocks: dict[int, int]) -> Tensor | None:
    """Cut a tensor to the shape of a narrower one: the first entries of each dimension.

    Args:
        plain: Of the plain network.
        own: Of the narrower network.
        blocks: Number of equal blocks along a dimension, each of which is cut by
            itself, such as the heads of an attention layer.

    Returns:
        The leading part, or None if the shapes do not allow it.
    """
    if plain.ndim != own.ndim:
        return None
    for dim, (full, narrow) in enumerate(zip(plain.shape, own.shape, strict=True)):
        count = blocks.get(dim, 1)
        if narrow > full or full % count or narrow % count:
            return None
        plain = plain.unflatten(dim, (count, full // count))
        plain = plain.narrow(dim + 1, 0, narrow // count).flatten(dim, dim + 1)
    return plain.clone()
