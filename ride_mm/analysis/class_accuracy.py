"""The accuracy of each class, as the metric ``ShotAccuracy`` writes it."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy of each class beside its number of training images.

    Attributes:
        names: Name of each class, C of them.
        shots: Training images of each class, (C,).
        accuracy: In percent, (C,); NaN for a class without a test image.
    """

    names: tuple[str, ...]
    shots: np.ndarray
    accuracy: np.ndarray


def read_class_accuracy(path: str | Path) -> ClassAccuracy:
    """Read the file that ``ShotAccuracy(csv=...)`` writes.

    Args:
        path: A CSV file with the columns ``class_name``, ``shots`` and ``accuracy``.

    Returns:
        Names, shots and accuracies in the order of the class indices.

    Raises:
        ValueError: If a column is missing.
    """
    with Path(path).open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    expected = {'class_name', 'shots', 'accuracy'}
    if not expected <= set(reader.fieldnames or ()):
        raise ValueError(
            f'{path}: expected the columns {sorted(expected)}, got {reader.fieldnames}'
        )
    return ClassAccuracy(
        names=tuple(row['class_name'] for row in rows),
        shots=np.array([int(row['shots']) for row in rows]),
        accuracy=np.array([float(row['accuracy'] or 'nan') for row in rows]),
    )
