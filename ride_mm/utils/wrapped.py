"""Data sets inside of others, such as that of ``LongTailed``."""

from collections.abc import Iterator, Mapping
from typing import Any


def wrapped_datasets(dataset: Any) -> Iterator[Any]:
    """A dataset and all those inside of it, outermost first."""
    yield dataset
    inner = getattr(dataset, 'datasets', None)
    if inner is None:
        inner = [dataset.dataset] if hasattr(dataset, 'dataset') else []
    for one in inner:
        yield from wrapped_datasets(one)


def innermost_dataset(dataset: Any) -> Any:
    """The last of :func:`wrapped_datasets`, which loads images."""
    *_, last = wrapped_datasets(dataset)
    return last


def innermost_config(dataset: Any) -> Any:
    """The config of the innermost dataset, which has the pipeline."""
    while isinstance(dataset, Mapping) and 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset
