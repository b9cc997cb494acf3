"""Text for a terminal."""

import sys


def count(number: int, what: str) -> str:
    """A number of things, the word in its plural where it belongs."""
    return f'{number:,} {what}{"" if number == 1 else "s"}'


def printable(text: str) -> str:
    """Text with what the terminal cannot show as escapes."""
    encoding = getattr(sys.stdout, 'encoding', None) or 'utf-8'
    return text.encode(encoding, 'backslashreplace').decode(encoding)
