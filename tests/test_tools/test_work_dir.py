"""A work directory belongs to one training."""

import logging
import os
import subprocess
import sys

import pytest
from engine_helpers import REPOSITORY, forget_runs, run_tool

from ride_mm.cli import train_main
from ride_mm.cli.errors import UsageError
from ride_mm.cli.runs.work_dir import (
    LOCK,
    earlier_run,
    locked,
    refuse_earlier_run,
)

# Holds the lock, starts a worker, says so and waits to be killed.
HOLDER = """
import multiprocessing, sys, time
from ride_mm.cli.runs.work_dir import locked
with locked(sys.argv[1]):
    multiprocessing.get_context('fork').Process(target=time.sleep, args=(30,)).start()
    print('held', flush=True)
    time.sleep(60)
"""
RUN = ['epoch_1.pth', 'iter_9.pth', 'best_score_epoch_1.pth', 'last_checkpoint']
OTHERS = ['model.pth', 'best.txt', 'log.json']


@pytest.fixture
def earlier(tmp_path):
    """A work directory with the files of an earlier run and others."""
    for name in (*RUN, *OTHERS):
        (tmp_path / name).write_text('')
    (tmp_path / 'epoch_2.pth').mkdir()
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / 'epoch_1.pth').write_text('')
    return tmp_path


@pytest.fixture
def started(monkeypatch):
    """The configs of the runs that would have been started."""
    forget_runs()
    started = []

    class Runner:
        logger = logging.getLogger('runner')

        def __init__(self, cfg):
            self.cfg, self.hooks = cfg, []

        def register_hook(self, hook, priority):
            assert priority == 'LOWEST'
            self.hooks.append(hook)

        def train(self):
            for hook in self.hooks:
                hook.before_train(self)
            started.append(self.cfg)

    monkeypatch.setattr('ride_mm.cli.runs.training.build_runner', Runner)
    return started


def train(work_dir, *options) -> None:
    argv = ['ride_r20_digitslt', '--work-dir', work_dir, *options]
    train_main([str(arg) for arg in argv])


def test_lock_ends_with_the_process_however_it_ends(tmp_path, started):
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(tmp_path)],
        env={**os.environ, 'PYTHONPATH': str(REPOSITORY)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        # Importing the fork of MMEngine may print lines before.
        assert b'held\n' in iter(holder.stdout.readline, b'')
        with pytest.raises(SystemExit, match=f'error: {tmp_path}: .* another training'):
            train(tmp_path, '--resume')
        assert started == []
        holder.kill()  # Its worker lives on.
        holder.wait()
        train(tmp_path, '--resume')
        assert len(started) == 1
    finally:
        os.killpg(holder.pid, 9)
        holder.stdout.close()


def test_lock_is_let_go(tmp_path):
    for _ in range(2):
        with locked(tmp_path / 'made'):
            assert (tmp_path / 'made' / LOCK).is_file()


@pytest.mark.parametrize('name', ['epoch_1.pth', 'iter_9.pth', 'last_checkpoint'])
def test_new_training_beside_an_earlier_one_is_refused(tmp_path, started, name):
    (tmp_path / name).write_text('')
    with pytest.raises(SystemExit) as err:
        train(tmp_path)
    for words in (str(tmp_path), name, '--resume', '--work-dir', '--overwrite'):
        assert words in err.value.code
    assert started == []


def test_other_files_are_no_earlier_training(tmp_path):
    for name in OTHERS:
        (tmp_path / name).write_text('')
    refuse_earlier_run(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(OTHERS)


def test_resuming_goes_on(tmp_path, started):
    (tmp_path / 'epoch_1.pth').write_text('')
    train(tmp_path, '--resume')
    assert started[0].load_from == str(tmp_path / 'epoch_1.pth')


def test_resuming_where_only_the_pointer_is_left_starts(tmp_path, started):
    (tmp_path / 'last_checkpoint').write_text('gone.pth')
    train(tmp_path, '--resume')
    assert not started[0].resume


def test_overwrite_removes_the_earlier_run_and_nothing_else(earlier, started, caplog):
    with caplog.at_level('INFO', 'runner'):
        train(earlier, '--overwrite')
    assert len(started) == 1
    left = {path.name for path in earlier.iterdir()}
    assert left == {*OTHERS, LOCK, 'epoch_2.pth', 'sub'}
    assert (earlier / 'sub' / 'epoch_1.pth').is_file()
    assert 'best_score_epoch_1.pth' in caplog.text


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('load_from=nowhere.pth', 'got nowhere.pth: no such file'),
        ('model.num_experts=0', 'num_experts: expected a whole number >= 1, got 0'),
        ('model.head.num_classes=7', 'expected num_classes=7 classes, got 10'),
    ],
)
def test_a_run_that_cannot_begin_removes_nothing(earlier, option, message):
    forget_runs()
    with pytest.raises(SystemExit, match=message):
        train(earlier, '--overwrite', '--cfg-options', option)
    assert {path.name for path in earlier.iterdir()} >= {*RUN, *OTHERS}


def test_only_the_first_process_removes(earlier, started, monkeypatch):
    monkeypatch.setattr('ride_mm.cli.runs.begin.is_main_process', lambda: False)
    train(earlier, '--overwrite')
    assert {path.name for path in earlier.iterdir()} >= {*RUN, *OTHERS}


def test_overwrite_and_resume_contradict_each_other(earlier, started):
    with pytest.raises(SystemExit, match='expected to start anew, got --resume'):
        train(earlier, '--overwrite', '--resume')


def test_weights_to_start_from_are_not_removed(earlier):
    with pytest.raises(UsageError, match='expected weights to start from outside'):
        earlier_run(earlier, str(earlier / 'epoch_1.pth'))
    assert {path.name for path in earlier.iterdir()} >= set(RUN)


def test_two_processes_tell_the_refusal_once(earlier):
    done = run_tool('dist_train.sh', 'ride_r20_digitslt', 2, '--work-dir', earlier)
    assert done.returncode == 1
    errors = [e for e in done.stderr.splitlines() if e.startswith('error: ')]
    assert len(errors) == 1, done.stderr
    assert '--overwrite' in errors[0]


def test_a_checkpoint_is_named_and_not_the_file_that_points_to_it(tmp_path):
    for name in ('epoch_1.pth', 'epoch_2.pth', 'last_checkpoint'):
        (tmp_path / name).write_text(name)
    os.utime(tmp_path / 'epoch_1.pth', (1, 1))
    with pytest.raises(UsageError, match=r'got epoch_2\.pth; go on from it'):
        refuse_earlier_run(tmp_path)
