"""Parts of an array: where they lie in it, and whether they fill it."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from .messages import FormatError, listed, nested

# Start and stop along each axis.
Bounds = tuple[tuple[int, int], ...]


def bounds_of(slices: Sequence[Any], shape: tuple[int, ...]) -> Bounds:
    """Where a part of an array lies in it.

    Args:
        slices: Packed, one for each axis.
        shape: Of the whole array.

    Raises:
        FormatError: If that is not within the array.
    """
    bounds = []
    for size, packed in zip(shape, listed(slices, len(shape)), strict=True):
        start, stop, step = listed(nested(packed), 3)
        start, stop = 0 if start is None else start, size if stop is None else stop
        whole = type(start) is int and type(stop) is int and step in (None, 1)
        if not whole or not 0 <= start <= stop <= size:
            raise FormatError(
                f'expected part of an axis of {size}, got {start}:{stop}:{step}'
            )
        bounds.append((start, stop))
    return tuple(bounds)


def check_parts(parts: list[Bounds], shape: tuple[int, ...]) -> None:
    """Check that the parts of an array fill it, and none covers another.

    Raises:
        FormatError: With expected and got.
    """
    check_apart(parts)
    total, expected = sum(map(part_size, parts)), math.prod(shape)
    if total != expected:
        raise FormatError(
            f'expected parts that fill the shape {shape}, {expected:,} numbers, got '
            f'{total:,}'
        )


def check_apart(parts: list[Bounds]) -> None:
    """Check that no two parts of an array cover the same numbers.

    Raises:
        FormatError: If two do.
    """
    for one, other in combinations(parts, 2):
        if all(
            max(a[0], b[0]) < min(a[1], b[1]) for a, b in zip(one, other, strict=True)
        ):
            raise FormatError(
                f'expected parts apart from each other, got {one} and {other}'
            )


def part_size(bounds: Bounds) -> int:
    """Numbers in a part of an array."""
    return math.prod(stop - start for start, stop in bounds)
