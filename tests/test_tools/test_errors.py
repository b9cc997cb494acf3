"""Which errors stand alone, and which with their traceback."""

import pytest

from ride_mm.cli.program import says_expected
from ride_mm.engine.checkpoint_io import load_checkpoint_file
from ride_mm.models.losses import LDAMLoss
from ride_mm.models.routing import route


def raised(function, *args, **kwargs) -> Exception:
    with pytest.raises(Exception) as err:  # noqa: PT011, of any kind
        function(*args, **kwargs)
    return err.value


def refuse(message: str) -> None:
    raise ValueError(message)


def test_our_own_words_stand_alone():
    assert says_expected(raised(LDAMLoss, max_margin=-1))


def test_so_do_files_that_are_missing(tmp_path):
    assert says_expected(raised(load_checkpoint_file, tmp_path / 'absent.pth'))


def test_errors_of_others_keep_their_traceback():
    assert not says_expected(raised(refuse, 'expected 3, got 4'))
    assert not says_expected(raised(int, 'four'))
    # Inside of the package, but a fault of the program.
    assert not says_expected(raised(route, None, 2, None, None, None))
    assert not says_expected(ValueError('expected: never raised'))
