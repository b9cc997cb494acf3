from ride_mm.utils.listing import first_few


def test_the_first_are_named_and_the_others_counted():
    assert first_few('abc', 3) == 'a, b, c'
    assert first_few(range(1503), 3) == '0, 1, 2, and 1,500 more'
    assert first_few('abcd', 2, '\n  ') == 'a\n  b\n  and 2 more'
    assert first_few([]) == ''
