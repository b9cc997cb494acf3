import pytest

from ride_mm.analysis import format_count, format_percent, format_table


def test_a_table_is_aligned_markdown():
    table = format_table(['model', 'all'], [['CE', '81.0'], ['RIDE', '9.5']])
    assert table == (
        '| model |  all |\n| ----- | ---: |\n| CE    | 81.0 |\n| RIDE  |  9.5 |'
    )


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match='expected 2 cells.* got 1'):
        format_table(['model', 'all'], [['CE']])


def test_numbers():
    assert format_percent(81.249) == '81.2'
    assert format_percent(None) == '-'
    assert format_count(999) == '999'
    assert format_count(272_474) == '272.47 k'
    assert format_count(41_300_000) == '41.30 M'
    assert format_count(4_110_000_000) == '4.11 G'
