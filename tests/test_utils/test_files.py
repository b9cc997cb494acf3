"""Files that are written whole, and those below a folder."""

import os

import pytest

from ride_mm.utils.files import files_below, whole_file


def test_a_file_is_there_when_it_is_complete_and_nothing_else(tmp_path):
    target = tmp_path / 'new' / 'file'
    with whole_file(target) as file:
        file.write(b'first')
        assert not target.exists()
    assert target.read_bytes() == b'first'
    with pytest.raises(KeyboardInterrupt), whole_file(target) as file:
        file.write(b'half')
        raise KeyboardInterrupt
    assert target.read_bytes() == b'first'
    assert os.listdir(target.parent) == ['file']


def test_files_are_found_once_and_by_name(tmp_path):
    for path in ('b/2', 'b/1', 'a/c/3', 'a/0', '.hidden/4', 'left/5', '.6'):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / 'a/c/circle').symlink_to(tmp_path)
    (tmp_path / 'a/again').symlink_to(tmp_path / 'b')
    found = [
        os.path.relpath(path, tmp_path)
        for path in files_below(tmp_path, leave_out=[tmp_path / 'left'])
    ]
    assert found == ['.6', 'a/0', 'a/c/3', 'b/1', 'b/2']
    # The folder itself is searched in any case.
    assert len(list(files_below(tmp_path, leave_out=[tmp_path]))) == 6
