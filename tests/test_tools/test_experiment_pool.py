"""Jobs side by side: order, failures, interruption, and where they run."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ride_mm.cli.errors import UsageError
from ride_mm.cli.experiments import (
    Job,
    Slot,
    Step,
    make_slots,
    metrics_of,
    run_jobs,
    spread,
)


def python(code: str) -> list[str]:
    return [sys.executable, '-S', '-c', code]


def job(folder: Path, name: str, *codes: str, needs: tuple[str, ...] = ()) -> Job:
    steps = [Step(f'step {i}', python(code)) for i, code in enumerate(codes)]
    return Job(name, steps, folder / f'{name}.log', needs)


def test_steps_run_in_order_and_what_is_needed_runs_before(tmp_path):
    trace = tmp_path / 'trace'
    note = f'open({str(trace)!r}, "a").write'
    jobs = [
        job(tmp_path, 'last', f'{note}("3")', needs=('middle',)),
        job(tmp_path, 'middle', f'{note}("1")', f'{note}("2")', needs=('first',)),
        job(tmp_path, 'first', f'import time; time.sleep(0.3); {note}("0")'),
    ]
    assert run_jobs(jobs, [Slot('a'), Slot('b')], print) == dict.fromkeys(
        ('last', 'middle', 'first')
    )
    assert trace.read_text() == '0123'


def test_what_needs_a_job_that_could_not_begin_is_told_wherever_it_stands(tmp_path):
    def refuse() -> None:
        raise UsageError('not this')

    broken = Job('broken', [Step('one', python('pass'), refuse)], tmp_path / 'log')
    jobs = [job(tmp_path, 'needs it', 'pass', needs=('broken',)), broken]
    faults = run_jobs(jobs, [Slot('a')], print)
    assert 'it needs broken' in faults['needs it'] and 'not this' in faults['broken']


def test_what_failed_is_shown_and_stops_only_what_needs_it(tmp_path):
    said = []
    (tmp_path / 'bad.log').write_text('of an earlier call\n')
    jobs = [
        job(tmp_path, 'bad', 'print("before"); raise SystemExit("the reason")'),
        job(tmp_path, 'needs it', 'pass', needs=('bad',)),
        job(tmp_path, 'needs that', 'pass', needs=('needs it',)),
        job(tmp_path, 'other', f'open({str(tmp_path / "done")!r}, "w")'),
    ]
    faults = run_jobs(jobs, [Slot('a')], said.append)
    assert 'exit status 1' in faults['bad'] and 'the reason' in faults['bad']
    assert 'earlier call' not in faults['bad']
    assert faults['needs it'] == 'not run: it needs bad, which failed'
    assert 'needs needs it' in faults['needs that']
    assert faults['other'] is None and (tmp_path / 'done').exists()
    assert any('the reason' in line for line in said)


def test_an_error_around_a_command_is_that_of_its_job(tmp_path):
    def refuse() -> None:
        raise UsageError('not this')

    steps = [Step('one', python('pass'), before=refuse)]
    jobs = [Job('a', steps, tmp_path / 'a.log'), job(tmp_path, 'b', 'pass')]
    assert run_jobs(jobs, [Slot('x')], print) == {
        'a': 'UsageError: not this',
        'b': None,
    }
    absent = [Step('one', [str(tmp_path / 'no such program')])]
    faults = run_jobs([Job('a', absent, tmp_path / 'a.log')], [Slot('x')], print)
    assert 'FileNotFoundError' in faults['a']


def test_as_many_at_once_as_there_are_slots(tmp_path):
    code = (
        'import os, pathlib, time\n'
        f'folder = pathlib.Path({str(tmp_path)!r})\n'
        'mine = folder / (os.environ["PLACE"] + ".on")\n'
        'assert not mine.exists()\n'
        'mine.touch(); time.sleep(0.4)\n'
        'seen = len(list(folder.glob("*.on")))\n'
        'mine.unlink()\n'
        '(folder / f"{os.getpid()}.seen").write_text(str(seen))\n'
    )
    slots = [Slot(name, {'PLACE': name}) for name in 'ab']
    jobs = [job(tmp_path, f'{i}', code) for i in range(4)]
    assert set(run_jobs(jobs, slots, print).values()) == {None}
    seen = [int(path.read_text()) for path in tmp_path.glob('*.seen')]
    assert len(seen) == 4 and max(seen) == 2


@pytest.fixture
def heeds_ctrl_c():
    """A shell lets what it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_process(tmp_path, number, heeds_ctrl_c):
    code = (
        'import os, pathlib, subprocess, sys, time\n'
        'child = subprocess.Popen([sys.executable, "-S", "-c", '
        '"import time; time.sleep(60)"])\n'
        f'path = pathlib.Path({str(tmp_path)!r}) / "pids"\n'
        'path.write_text(f"{os.getpid()} {child.pid}")\n'
        'time.sleep(60)\n'
    )

    def interrupt() -> None:
        while not (tmp_path / 'pids').exists() or not (tmp_path / 'pids').read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(tmp_path, 'long', code)], [Slot('a')], print)
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    pids = list(map(int, (tmp_path / 'pids').read_text().split()))
    assert len(pids) == 2
    for pid in pids:
        assert ends(pid)


def ends(pid: int) -> bool:
    """Whether a process is gone, or dead and not yet asked for by its parent."""
    limit = time.monotonic() + 5
    while time.monotonic() < limit:
        done = subprocess.run(
            ['ps', '-o', 'stat=', '-p', str(pid)], capture_output=True, text=True
        )
        if done.stdout.strip() == '' or done.stdout.startswith('Z'):
            return True
        time.sleep(0.1)
    return False


def test_nothing_runs_on_when_nobody_reads_what_is_said(tmp_path):
    number = tmp_path / 'pid'
    code = f'import os; print(os.getpid(), file=open({str(number)!r}, "w"), flush=True)'

    def gone(line: str) -> None:
        limit = time.monotonic() + 60
        while not (number.exists() and number.read_text().endswith('\n')):
            assert time.monotonic() < limit
            time.sleep(0.01)
        raise BrokenPipeError

    sleeper = job(tmp_path, 'sleeper', f'{code}; import time; time.sleep(60)')
    with pytest.raises(BrokenPipeError):
        run_jobs([sleeper], [Slot('a')], gone)
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


def test_jobs_that_could_never_run_are_refused(tmp_path):
    twice = [job(tmp_path, 'a', 'pass'), job(tmp_path, 'a', 'pass')]
    with pytest.raises(ValueError, match='names of their own'):
        run_jobs(twice, [Slot('x')], print)
    circle = [
        job(tmp_path, 'a', 'pass', needs=('b',)),
        job(tmp_path, 'b', 'pass', needs=('a',)),
    ]
    with pytest.raises(ValueError, match='do not need each other'):
        run_jobs(circle, [Slot('x')], print)
    assert not list(tmp_path.iterdir())


def test_jobs_divide_the_machine():
    threads = {'OMP_NUM_THREADS': '8'}
    assert make_slots(None, 0, threads) == [Slot('CPU', {})]
    two = make_slots(2, 0, threads)
    assert [slot.environ['OMP_NUM_THREADS'] for slot in two] == ['4', '4']
    assert make_slots(9, 0, threads)[8].environ['MKL_NUM_THREADS'] == '1'
    devices = [s.environ['CUDA_VISIBLE_DEVICES'] for s in make_slots(None, 2, {})]
    assert devices == ['0', '1']
    visible = {'CUDA_VISIBLE_DEVICES': '5,GPU-7', **threads}
    slots = make_slots(3, 2, visible)
    assert [slot.name for slot in slots] == ['GPU 5', 'GPU GPU-7', 'GPU 5']
    assert [s.environ['CUDA_VISIBLE_DEVICES'] for s in slots] == ['5', 'GPU-7', '5']
    with pytest.raises(UsageError, match='--jobs: expected at least 1, got 0'):
        make_slots(0, 0, {})


def test_spread_is_that_of_a_sample():
    figure = spread([1.0, 2.0, 6.0])
    assert figure.mean == 3.0
    assert figure.sd == pytest.approx(7**0.5)  # ((-2)^2 + (-1)^2 + 3^2) / 2
    assert spread([4.0]) == spread([4.0]) and spread([4.0]).sd is None
    with pytest.raises(ValueError, match='at least one run'):
        spread([])
    both = metrics_of([{'a': 1, 'b': 2}, {'a': 3}])
    assert list(both) == ['a'] and both['a'].values == (1.0, 3.0)
