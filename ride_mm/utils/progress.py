"""Bars that show how far long work has come."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

# Items that wait for a thread at a time, lest a million of them fill the memory.
BLOCK = 4096


@contextmanager
def progress_bar(
    what: str, total: int, in_bytes: bool = False
) -> Iterator[Callable[[int], Any]]:
    """Show a bar on a terminal, on standard error, and nothing elsewhere.

    Args:
        what: The work, in a word or two.
        total: Its size.
        in_bytes: Whether it is counted in bytes.

    Yields:
        A function that is told how much more has been done.
    """
    console = Console(stderr=True)
    numbers = (
        (DownloadColumn(), TransferSpeedColumn())
        if in_bytes
        else (MofNCompleteColumn(),)
    )
    columns = TextColumn('{task.description}'), BarColumn(), *numbers
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda amount: progress.advance(task, amount)


def map_in_threads(
    function: Callable[[Any], Any], items: Sequence, threads: int, what: str
) -> list:
    """Call a function for each item in several threads, with a bar.

    An error or Ctrl-C ends it at once; what was not begun is not done.

    Args:
        function: To call.
        items: Its arguments.
        threads: How many calls run at a time.
        what: The work, in a word or two.

    Returns:
        The results, in the order of the items.
    """
    pool = ThreadPoolExecutor(threads)
    results = []
    try:
        with progress_bar(what, len(items)) as advance:
            for start in range(0, len(items), BLOCK):
                for result in pool.map(function, items[start : start + BLOCK]):
                    results.append(result)
                    advance(1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return results
