"""Regenerate the weights and inputs of the golden cases.

A golden case stores no weights: each tensor is drawn from the CRC-32 of its name, on a
stream (``numpy.random.RandomState``) that NumPy has frozen. Both sides of a comparison
hold the same numbers, bit for bit, and a case of a full-size network stays small.
"""

import zlib
from collections.abc import Iterable, Sequence

import numpy as np


def tensor(
    name: str, shape: Sequence[int], kind: str, scale: float = 1.0
) -> np.ndarray:
    """Draw one array from its name.

    Args:
        name: Decides the numbers.
        shape: Shape of the array.
        kind: What the numbers are, with z standard normal:
            ``'normal'`` scale * z; ``'conv'`` He-normal over the fan-out, times scale;
            ``'gain'`` 1 + scale * z; ``'variance'`` 1 + scale * \\|z\\|;
            ``'constant'`` scale; ``'count'`` zeros, int64; ``'images'`` (N, 3, H, W)
            whole values in 0..255: 4 x 4 blocks of colour, a contrast per image, noise.
        scale: See ``kind``.

    Returns:
        float32, or int64 for ``'count'``.
    """
    shape = tuple(shape)
    if kind == 'count':
        return np.zeros(shape, dtype=np.int64)
    if kind == 'constant':
        return np.full(shape, scale, dtype=np.float32)
    stream = np.random.RandomState(zlib.crc32(name.encode()))
    if kind == 'images':
        return _images(stream, shape)
    z = stream.standard_normal(shape).astype(np.float32)
    if kind == 'normal':
        values = scale * z
    elif kind == 'conv':
        fan_out = shape[0] * int(np.prod(shape[2:]))
        values = scale * np.sqrt(2.0 / fan_out) * z
    elif kind == 'gain':
        values = 1 + scale * z
    elif kind == 'variance':
        values = 1 + scale * np.abs(z)
    else:
        raise ValueError(f'unknown kind {kind!r}')
    return values.astype(np.float32)


def state_dict(parameters: Iterable[Sequence]) -> dict[str, np.ndarray]:
    """Draw all of a case's parameters, rows of (name, shape, kind, scale)."""
    return {row[0]: tensor(*row) for row in parameters}


def _images(stream: np.random.RandomState, shape: tuple) -> np.ndarray:
    batch, channels, height, width = shape
    blocks = stream.randint(0, 256, (batch, channels, 4, 4))
    contrast = stream.randint(1, 9, (batch, 1, 1, 1))
    noise = stream.randint(-32, 33, shape)
    colour = blocks.repeat(height // 4, axis=2).repeat(width // 4, axis=3)
    return (colour * contrast // 8 + noise).clip(0, 255).astype(np.float32)
