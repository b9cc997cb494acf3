from types import SimpleNamespace

from ride_mm.utils.wrapped import (
    innermost_config,
    innermost_dataset,
    wrapped_datasets,
)


def test_datasets_are_found_inside_of_others():
    first, last = SimpleNamespace(), SimpleNamespace()
    both = SimpleNamespace(datasets=[first, SimpleNamespace(dataset=last)])
    outer = SimpleNamespace(dataset=both)
    assert list(wrapped_datasets(outer)) == [outer, both, first, both.datasets[1], last]
    assert innermost_dataset(outer) is last
    assert innermost_dataset(first) is first


def test_the_innermost_config_is_found():
    inner = dict(type='Digits')
    assert innermost_config(dict(dataset=dict(dataset=inner))) is inner
    assert innermost_config(inner) is inner
    assert innermost_config(None) is None
