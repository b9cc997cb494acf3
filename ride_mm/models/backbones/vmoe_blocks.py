"""Which blocks of a V-MoE have experts, and the sizes of the published ones."""

import re
from collections.abc import Sequence

# https://github.com/google-research/vmoe, its configurations of the paper. Its S is not
# the usual one of 12 blocks and 384 channels.
ARCHS = {
    's': dict(embed_dims=512, num_layers=8, num_heads=8, feedforward_channels=2048),
    'b': dict(embed_dims=768, num_layers=12, num_heads=12, feedforward_channels=3072),
    'l': dict(embed_dims=1024, num_layers=24, num_heads=16, feedforward_channels=4096),
    'h': dict(embed_dims=1280, num_layers=32, num_heads=16, feedforward_channels=5120),
}


def moe_blocks(blocks: str | Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Numbers, from 0, of the blocks with experts.

    Args:
        blocks: ``'every-n'`` are blocks n-1, 2n-1, ...; ``'last-n'`` are the last n of
            blocks 1, 3, 5, ..., as the authors' "Last 2"; or the numbers, none for a
            dense network.
        num_layers: Number of blocks.

    Raises:
        ValueError: If there are no such blocks.
    """
    if isinstance(blocks, str):
        match = re.fullmatch(r'(every|last)-([1-9]\d*)', blocks)
        if not match:
            raise ValueError(
                "moe.blocks: expected 'every-N', 'last-N' or a list of numbers, got "
                f'{blocks!r}'
            )
        n = int(match[2])
        second = tuple(range(1, num_layers, 2))
        if match[1] == 'every':
            found = tuple(range(n - 1, num_layers, n))
        else:
            found = second[-n:] if n <= len(second) else ()
        if not found:
            raise ValueError(
                f'moe.blocks: expected no more than there are among {num_layers} '
                f'blocks, got {blocks!r}'
            )
        return found
    found = tuple(sorted(blocks))
    if not all(type(i) is int and 0 <= i < num_layers for i in found) or len(
        set(found)
    ) < len(found):
        raise ValueError(
            f'moe.blocks: expected different whole numbers from 0 to {num_layers - 1}, '
            f'got {list(blocks)}'
        )
    return found


def arch_settings(arch: str | dict) -> dict:
    """Sizes of a network: embed_dims, num_layers, num_heads, feedforward_channels.

    Args:
        arch: ``'s'``, ``'b'``, ``'l'``, ``'h'``, or the sizes themselves.

    Raises:
        ValueError: If it is neither, or the heads do not divide the channels.
    """
    if isinstance(arch, str):
        if arch.lower() not in ARCHS:
            raise ValueError(
                f'arch: expected one of {", ".join(ARCHS)} or a dict of sizes, got '
                f'{arch!r}'
            )
        return dict(ARCHS[arch.lower()])
    wanted = set(ARCHS['s'])
    if not wanted <= set(arch):
        raise ValueError(
            f'arch: expected {", ".join(sorted(wanted))}, got {", ".join(sorted(arch))}'
        )
    if arch['embed_dims'] % arch['num_heads']:
        raise ValueError(
            f'arch: expected heads that divide embed_dims={arch["embed_dims"]}, got '
            f'num_heads={arch["num_heads"]}'
        )
    return dict(arch)
