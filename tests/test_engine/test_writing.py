import errno
import os
import resource

import pytest
import torch

from ride_mm.engine.checkpoint_io import (
    TEMPORARY_SUFFIX,
    CheckpointError,
    load_checkpoint_file,
    remove_temporary_files,
    write_atomically,
)


class TestWriteAtomically:
    def test_failure_leaves_the_old_file(self, tmp_path):
        path = tmp_path / 'a.pth'
        write_atomically({'a': 1}, path)
        with pytest.raises(CheckpointError):
            write_atomically({'a': object()}, path)
        assert load_checkpoint_file(path) == {'a': 1}

    def test_leftovers_of_a_kill_are_removed_and_nothing_else(self, tmp_path):
        (tmp_path / '.hidden').write_text('mine')
        write_atomically('kept', tmp_path / 'kept.txt')
        leftover = f'.lost.txt.123{TEMPORARY_SUFFIX}'
        (tmp_path / leftover).write_text('half')
        assert remove_temporary_files(tmp_path) == [leftover]
        assert sorted(p.name for p in tmp_path.iterdir()) == ['.hidden', 'kept.txt']

    def test_failed_rename_leaves_nothing_and_names_the_target(
        self, tmp_path, monkeypatch
    ):
        def fail(*args):
            raise OSError(errno.EROFS, 'Read-only file system', *args)

        monkeypatch.setattr(os, 'replace', fail)
        with pytest.raises(OSError) as err:
            write_atomically(b'lost', tmp_path / 'lost.txt')
        assert err.value.errno == errno.EROFS
        assert err.value.filename == str(tmp_path / 'lost.txt')
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize('content', [{'a': torch.zeros(100_000)}, b'x' * 100_000])
    def test_failed_write_leaves_nothing_and_names_the_target(self, tmp_path, content):
        """A limit on the size of files stands for a full disk."""
        target = tmp_path / 'epoch_1.pth'
        target.write_text('before')
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
        try:
            with pytest.raises(OSError) as err:
                write_atomically(content, target)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert err.value.filename == str(target)
        assert err.value.errno == errno.EFBIG
        assert [path.name for path in tmp_path.iterdir()] == ['epoch_1.pth']
        assert target.read_text() == 'before'
