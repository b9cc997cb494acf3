"""Which images belong where."""

from collections.abc import Iterable, Iterator

from ..list_reading import inner_path
from .benchmarks import Benchmark
from .errors import PreparationError


class Wanted:
    """The images that the lists of a benchmark name.

    Args:
        benchmark: Of the images.
        paths: Relative path of each image that is listed.
        everything: Whether images that are on no list are wanted, too.

    Raises:
        PreparationError: If two paths cannot be told apart.
    """

    def __init__(
        self, benchmark: Benchmark, paths: Iterable[str], everything: bool = False
    ) -> None:
        self._benchmark = benchmark
        self._everything = everything
        self._by_tail: dict[str, str] = {}
        for path in paths:
            tail = self._tail(path)
            if self._by_tail.setdefault(tail, path) != path:
                raise PreparationError(
                    f'lists of {benchmark.title}: expected paths that differ in their '
                    f'last {benchmark.tails} parts, got {self._by_tail[tail]} and '
                    f'{path}'
                )

    def __len__(self) -> int:
        return len(self._by_tail)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_tail.values())

    def is_known(self, path: str) -> bool:
        """Whether a file is an image of the benchmark, listed or not."""
        return (
            self._tail(path) in self._by_tail or self._benchmark.place(path) is not None
        )

    def place(self, path: str) -> str | None:
        """Where a file belongs.

        Args:
            path: Of the file within an archive or a folder, with ``/``.

        Returns:
            The relative path in the layout, or None if the file is not wanted.

        Raises:
            ValueError: If it would lie outside.
        """
        place = self._by_tail.get(self._tail(path))
        if place is None and self._everything:
            place = self._benchmark.place(path)
        return None if place is None else inner_path(place)

    def _tail(self, path: str) -> str:
        return '/'.join(path.split('/')[-self._benchmark.tails :])
