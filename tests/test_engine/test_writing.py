import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

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


class TestWhatIsThere:
    def test_a_link_stays_and_its_target_is_replaced(self, tmp_path):
        (tmp_path / 'a').mkdir()
        (tmp_path / 'b').mkdir()
        target, link = tmp_path / 'a/file.txt', tmp_path / 'b/link.txt'
        target.write_text('before')
        link.symlink_to('../a/file.txt')
        write_atomically('after', link)
        assert link.is_symlink() and target.read_text() == 'after'
        assert not target.is_symlink()
        assert [p.name for p in (tmp_path / 'a').iterdir()] == ['file.txt']
        assert [p.name for p in (tmp_path / 'b').iterdir()] == ['link.txt']

    def test_a_link_to_nothing_gets_its_target(self, tmp_path):
        (tmp_path / 'link').symlink_to('new/file.txt')
        write_atomically('text', tmp_path / 'link')
        assert (tmp_path / 'link').is_symlink()
        assert (tmp_path / 'new/file.txt').read_text() == 'text'

    def test_a_circle_of_links_is_refused_by_name(self, tmp_path):
        (tmp_path / 'a').symlink_to('b')
        (tmp_path / 'b').symlink_to('a')
        with pytest.raises(OSError) as err:
            write_atomically('text', tmp_path / 'a')
        assert err.value.errno == errno.ELOOP
        assert err.value.filename == str(tmp_path / 'a')
        assert (tmp_path / 'a').is_symlink() and (tmp_path / 'b').is_symlink()

    @pytest.mark.parametrize('linked', [False, True])
    @pytest.mark.parametrize('kind', ['a pipe', 'a device', 'a socket', 'a folder'])
    def test_other_kinds_are_refused_and_stay(self, tmp_path, kind, linked):
        path = tmp_path / 'special'
        if kind == 'a pipe':
            os.mkfifo(path)
        elif kind == 'a folder':
            path.mkdir()
        elif kind == 'a socket':
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
        else:
            path = Path(os.devnull)
        mode = path.stat().st_mode
        if linked:
            (tmp_path / 'link').symlink_to(path)
            path = tmp_path / 'link'
        there = sorted(tmp_path.iterdir())
        with pytest.raises(OSError, match=f'a regular file, got {kind}') as err:
            write_atomically('text', path)
        assert err.value.filename == str(path)
        assert path.stat().st_mode == mode
        assert sorted(tmp_path.iterdir()) == there

    @pytest.mark.parametrize('into', ['pipe', 'file'])
    def test_the_own_output_is_refused(self, tmp_path, into):
        """A pipe as well as the file that it goes to, whose other lines would go."""
        code = (
            'from ride_mm.engine.checkpoint_io import write_atomically\n'
            "print('said', flush=True)\n"
            'try:\n'
            "    write_atomically('text', '/dev/stdout')\n"
            'except OSError as err:\n'
            '    print(err.filename, err.strerror)\n'
        )
        with open(tmp_path / 'out.txt', 'w+') as file:
            done = subprocess.run(
                [sys.executable, '-c', code],
                stdout=subprocess.PIPE if into == 'pipe' else file,
                text=True,
            )
            file.seek(0)
            said = done.stdout if into == 'pipe' else file.read()
        found = 'a pipe' if into == 'pipe' else "the program's own output"
        assert said == f'said\n/dev/stdout expected a regular file, got {found}\n'
        assert [p.name for p in tmp_path.iterdir()] == ['out.txt']
