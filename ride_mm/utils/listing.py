"""Long lists in messages."""

from collections.abc import Iterable


def first_few(items: Iterable[object], n: int = 5, separator: str = ', ') -> str:
    """The first ``n`` items in words, and how many more there are."""
    words = list(map(str, items))
    if len(words) > n:
        words[n:] = [f'and {len(words) - n:,} more']
    return separator.join(words)
