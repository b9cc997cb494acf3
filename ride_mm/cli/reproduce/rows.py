"""What a table's rows are: trainings, what they build on, what was published."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

PAPER = 'the authors, paper, '
ZOO = 'the authors, model zoo'


@dataclass(frozen=True)
class Published:
    """A figure of others, top-1 in percent.

    Attributes:
        accuracy: Over all test images.
        source: Who published it, and where.
        by_shots: Of many-, medium- and few-shot classes, where it is known.
        note: What differs from a row's own way.
    """

    accuracy: float
    source: str
    by_shots: tuple[float, float, float] | None = None
    note: str = ''


@dataclass(frozen=True)
class Row:
    """A row of a table: a training, and what it builds on.

    Attributes:
        name: For the command line and the work directory.
        title: For the table.
        config: Name of a shipped config; ``{schedule}`` in it stands for the suffix of
            a schedule.
        options: Changes to it, ``KEY=VALUE``.
        needs: Rows whose last checkpoint a setting names, by that setting.
        published: Figures of others, the one to compare with first.
    """

    name: str
    title: str
    config: str
    options: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    published: tuple[Published, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A table that can be reproduced.

    Attributes:
        name: For the command line.
        title: Of the report.
        rows: In the order of the table, those that others need before them.
        schedules: Suffix of the configs by the name of a schedule, the published one
            first.
        data_root: Where the configs look for the data.
        any_files: Settings that accept other files than the published ones.
        describe_files: Called with the folder of the data; gives ``md5`` and
            ``published``, the hash of the published file, of each file that is there.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    schedules: Mapping[str, str]
    data_root: str
    any_files: tuple[str, ...]
    describe_files: Callable[[str], Mapping[str, Mapping[str, str]]]

    def row(self, name: str) -> Row:
        """The row of a name."""
        return next(row for row in self.rows if row.name == name)

    def with_needs(self, names: Sequence[str]) -> list[Row]:
        """Rows of these names and all that they build on, in the table's order."""
        wanted = set()
        left = list(names)
        while left:
            name = left.pop()
            if name not in wanted:
                wanted.add(name)
                left += self.row(name).needs.values()
        return [row for row in self.rows if row.name in wanted]
