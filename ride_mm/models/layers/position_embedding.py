"""Position embeddings of vision transformers as the authors of V-MoE have them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Of fixed embeddings, over the shortest one.
LONGEST_WAVE = 10_000.0


def resize_positions(
    positions: Tensor, size: tuple[int, int], num_extra: int = 1
) -> Tensor:
    """Resize learned position embeddings to another grid of patches.

    Bilinear between the corners, which stay where they are: what SciPy's ``zoom`` of
    order 1 computes. MMPretrain's own resizing is another one.

    Args:
        positions: Of the extra tokens, then of a square grid, (1, num_extra + n^2, D).
        size: Height and width of the new grid.
        num_extra: Extra tokens, such as the class token, whose positions stay.

    Returns:
        (1, num_extra + height * width, D).

    Raises:
        ValueError: If the grid is not a square.
    """
    extra, grid = positions[:, :num_extra], positions[:, num_extra:]
    side = math.isqrt(grid.shape[1])
    if side * side != grid.shape[1]:
        raise ValueError(
            f'expected the positions of {num_extra} tokens and a square grid, got '
            f'{positions.shape[1]}'
        )
    return torch.cat((extra, resize_grid(grid, (side, side), size)), 1)


def resize_grid(grid: Tensor, source: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Resize embeddings (1, h * w, D) of a grid of ``source`` to ``size``."""
    if source == size:
        return grid
    image = grid.unflatten(1, source).permute(0, 3, 1, 2)  # (1, D, h, w)
    image = F.interpolate(image.float(), size, mode='bilinear', align_corners=True)
    return image.flatten(2).transpose(1, 2).to(grid.dtype)


def sincos2d_positions(size: tuple[int, int], embed_dims: int) -> Tensor:
    """Fixed position embeddings: sine and cosine of column, then of row.

    Args:
        size: Height and width of the grid.
        embed_dims: D, a multiple of 4, at least 8.

    Returns:
        (1, height * width, D).

    Raises:
        ValueError: If D does not divide.
    """
    if embed_dims % 4 or embed_dims < 8:
        raise ValueError(
            f'embed_dims: expected a multiple of 4 from 8 on for sincos2d, got '
            f'{embed_dims}'
        )
    waves = embed_dims // 4
    # float64: the waves are multiplied by up to a hundred patches.
    omega = LONGEST_WAVE ** -(torch.arange(waves, dtype=torch.float64) / (waves - 1))
    rows, columns = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) for n in size), indexing='ij'
    )
    x, y = columns.reshape(-1, 1) * omega, rows.reshape(-1, 1) * omega
    return torch.cat((x.sin(), x.cos(), y.sin(), y.cos()), 1).float()[None]
