import threading

import pytest

from ride_mm.utils import progress
from ride_mm.utils.progress import map_in_threads, progress_bar


def test_results_keep_the_order_of_the_items():
    release = threading.Event()

    def double(item):
        if item == 0:
            release.wait(5)
        if item == 3:
            release.set()
        return 2 * item

    assert map_in_threads(double, range(5), 2, 'work') == [0, 2, 4, 6, 8]
    assert map_in_threads(double, [], 2, 'work') == []
    many = range(progress.BLOCK + 5)
    assert map_in_threads(str, many, 2, 'work') == [str(item) for item in many]


def test_an_error_ends_it_and_what_was_not_begun_is_not_done():
    done = []

    def fail(item):
        done.append(item)
        raise ValueError(f'item {item}')

    with pytest.raises(ValueError, match='item 0'):
        map_in_threads(fail, range(10_000), 1, 'work')
    assert len(done) < 10_000


@pytest.mark.parametrize('in_bytes', [False, True])
def test_a_bar_is_shown_on_terminals_alone(monkeypatch, capsys, in_bytes):
    console = progress.Console

    def show(is_terminal):
        monkeypatch.setattr(
            progress,
            'Console',
            lambda **kwargs: console(force_terminal=is_terminal, **kwargs),
        )
        with progress_bar('counting', 40, in_bytes) as advance:
            advance(15)
            advance(25)
        out, err = capsys.readouterr()
        assert out == ''
        return err

    assert show(False) == ''
    shown = show(True)
    assert 'counting' in shown
    assert ('40/40 bytes' if in_bytes else '40/40') in shown
