"""What ``tools/misc/verify_dataset.py`` prints and writes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ...datasets.verification import KINDS, Finding, Look, counts_of
from ...utils import shot_groups
from ...utils.listing import first_few
from ..text import count


@dataclass
class Split:
    """A data set of the config.

    Attributes:
        name: ``train``, ``val`` or ``test``, or several of them with the same images.
        classes: Names of the C classes.
        looks: What its images are, (N,).
    """

    name: str
    classes: list[str]
    looks: list[Look]

    @property
    def counts(self) -> np.ndarray:
        """Images of each class, (C,)."""
        return counts_of(self.looks, len(self.classes))

    def is_train(self) -> bool:
        """Whether the network learns from it."""
        return 'train' in self.name.split(', ')


@dataclass
class Report:
    """What was looked at and found.

    Attributes:
        splits: The data sets that could be read.
        findings: What is wrong.
    """

    splits: list[Split] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def lines_of(report: Report, named: int, ignored: Sequence[str]) -> list[str]:
    """A report in words, with so many findings of each kind."""
    lines = [f'{split.name}: {describe_split(split)}' for split in report.splits]
    total = sum(len(split.looks) for split in report.splits)
    lines.append(f'Looked at {count(total, "image")}.')
    for kind, title in KINDS.items():
        found = [finding for finding in report.findings if finding.kind == kind]
        if not found:
            continue
        accepted = ', ignored' if kind in ignored else ''
        lines.append(f'{kind}: {title} ({len(found):,}{accepted})')
        places = (f'{one.where}: {one.message}' for one in found)
        lines.append('  ' + first_few(places, named, '\n  '))
    return lines


def describe_split(split: Split) -> str:
    """Class counts of a set in a line."""
    counts = split.counts
    text = (
        f'{count(len(split.looks), "image")}, {len(counts):,} classes with '
        f'{counts.max():,}..{counts.min():,}'
    )
    if not split.is_train():
        return text
    sizes = ' / '.join(f'{len(group):,}' for group in shot_groups(counts).values())
    factor = imbalance_factor(counts)
    shown = 'undefined, for a class is empty' if factor is None else f'{factor:g}'
    return f'{text}, imbalance factor {shown}, many / medium / few {sizes}'


def imbalance_factor(counts: np.ndarray) -> float | None:
    """Images of the largest class over those of the smallest, None if that is empty."""
    return float(counts.max() / counts.min()) if counts.min() else None


def content_of(report: Report, config: str, good: bool) -> dict[str, Any]:
    """A report as plain data."""
    return dict(
        config=config,
        good=good,
        sets={
            split.name: dict(
                images=len(split.looks),
                class_counts=dict(
                    zip(split.classes, split.counts.tolist(), strict=True)
                )
                if len(set(split.classes)) == len(split.classes)
                else split.counts.tolist(),
                imbalance_factor=imbalance_factor(split.counts),
                shot_groups={
                    name: [split.classes[c] for c in group]
                    for name, group in shot_groups(split.counts).items()
                }
                if split.is_train()
                else None,
            )
            for split in report.splits
        },
        numbers=dict(Counter(finding.kind for finding in report.findings)),
        findings=[asdict(finding) for finding in report.findings],
    )
