"""Jobs of one or more commands, run in order of need, several at once."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .devices import Slot

TAIL_LINES = 15
TAIL_BYTES = 20_000
# Seconds between polls, between lines of progress, and to wait after SIGTERM.
LOOK, TELL, GRACE = 0.1, 60.0, 10.0


@dataclass(frozen=True)
class Step:
    """A command of a job.

    Attributes:
        what: It does, such as ``'training'``.
        command: Program and arguments.
        before: Called before it starts; an error is that of the job.
        after: Called when it has succeeded; the same.
    """

    what: str
    command: Sequence[str]
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Job:
    """Commands that run one after the other.

    Attributes:
        name: Of the job.
        steps: The commands.
        log: File that their output is added to.
        needs: Jobs that must have succeeded before, if they are among those that run.
        progress: How far it is.
    """

    name: str
    steps: Sequence[Step]
    log: Path
    needs: tuple[str, ...] = ()
    progress: Callable[[], str] = lambda: ''


@dataclass
class _Running:
    job: Job
    slot: Slot
    since: float
    step: int = -1
    process: subprocess.Popen | None = None
    log_start: int = 0

    def start_next(self) -> bool:
        """Start the next command; False if there is none left."""
        if self.step + 1 == len(self.job.steps):
            return False
        self.step += 1
        step = self.job.steps[self.step]
        step.before()
        self.job.log.parent.mkdir(parents=True, exist_ok=True)
        with self.job.log.open('ab') as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                step.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.slot.environ},
                # Ctrl-C reaches us alone, who then end it.
                start_new_session=True,
            )
        return True

    def minutes(self) -> str:
        return f'{(time.monotonic() - self.since) / 60:.1f} min'


@dataclass
class _Pool:
    waiting: list[Job]
    free: list[Slot]
    say: Callable[[str], None]
    running: list[_Running] = field(default_factory=list)
    faults: dict[str, str | None] = field(default_factory=dict)

    def start_ready(self) -> None:
        """Start jobs whose needs are met; give up those that cannot be."""
        for job in list(self.waiting):
            failed = [need for need in job.needs if self.faults.get(need)]
            waits = {one.name for one in self.waiting} | {
                one.job.name for one in self.running
            }
            if failed:
                self.waiting.remove(job)
                self.end(job.name, f'not run: it needs {failed[0]}, which failed')
            elif self.free and not waits.intersection(job.needs):
                self.waiting.remove(job)
                running = _Running(job, self.free.pop(0), time.monotonic())
                self.running.append(running)
                self.advance(running)

    def look(self) -> None:
        """Go on with jobs whose command has ended."""
        for running in list(self.running):
            status = running.process.poll()
            if status is None:
                continue
            step = running.job.steps[running.step]
            if status != 0:
                text = tail(running.job.log, running.log_start)
                how = f'signal {-status}' if status < 0 else f'exit status {status}'
                self.stop(
                    running, f'{step.what} failed ({how}); {running.job.log}:\n{text}'
                )
            else:
                self.advance(running, step)

    def advance(self, running: _Running, done: Step | None = None) -> None:
        """Go to the next command; whatever is wrong with it, the others count."""
        try:
            if done is not None:
                done.after()
            if running.start_next():
                what = running.job.steps[running.step].what
                self.say(
                    f'[{running.job.name}] {what} on {running.slot.name}, log '
                    f'{running.job.log}'
                )
            else:
                self.stop(running, None)
        except Exception as err:
            self.stop(running, f'{type(err).__name__}: {err}')

    def stop(self, running: _Running, fault: str | None) -> None:
        """Note how a job ended and free its slot."""
        self.running.remove(running)
        process = running.process
        if process is not None and process.poll() is None:
            end_all([process])  # The fault is ours, not its own.
        self.free.append(running.slot)
        took = f' after {running.minutes()}'
        self.end(running.job.name, fault, took)

    def end(self, name: str, fault: str | None, took: str = '') -> None:
        self.faults[name] = fault
        self.say(f'[{name}] done{took}' if fault is None else f'[{name}] {fault}')

    def tell(self) -> None:
        """Say how far the running jobs are."""
        parts = [f'{r.job.name} {r.job.progress()}'.strip() for r in self.running]
        self.say(f'{"; ".join(parts)}; {len(self.waiting)} waiting')


def run_jobs(
    jobs: Sequence[Job],
    slots: Sequence[Slot],
    say: Callable[[str], None] = print,
) -> dict[str, str | None]:
    """Run jobs, as many at once as there are slots.

    A job that fails does not stop the others, except those that need it. However this
    function ends, by Ctrl-C or SIGTERM too, no process of a job is left.

    Args:
        jobs: In the order in which they are preferred.
        slots: Where they run.
        say: Called with lines of progress.

    Returns:
        Why each job failed, None if it did not, by name.

    Raises:
        ValueError: If two jobs have one name, or some need each other.
    """
    check_order(jobs)
    pool = _Pool(list(jobs), list(slots), say)
    told = time.monotonic()
    with interrupted_by_sigterm():
        try:
            pool.start_ready()
            while pool.running or pool.waiting:
                time.sleep(LOOK)
                pool.look()
                pool.start_ready()
                if time.monotonic() - told > TELL and pool.running:
                    told = time.monotonic()
                    pool.tell()
        finally:
            end_all([one.process for one in pool.running if one.process is not None])
    return {job.name: pool.faults[job.name] for job in jobs}


def check_order(jobs: Sequence[Job]) -> None:
    """Refuse jobs that could never all run.

    Raises:
        ValueError: If two have one name, or some need each other.
    """
    names = [job.name for job in jobs]
    if len(set(names)) < len(names):
        raise ValueError(f'expected jobs with names of their own, got {names}')
    left = list(jobs)
    while left:
        waits = {job.name for job in left}
        blocked = [job for job in left if waits.intersection(job.needs)]
        if len(blocked) == len(left):
            raise ValueError(
                f'expected jobs that do not need each other, got {sorted(waits)}'
            )
        left = blocked


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, in the main thread."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # Another thread, to which no signal comes.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_all(processes: Sequence[subprocess.Popen]) -> None:
    """End processes with all that they started: first ask, then kill.

    A training may be ended at any time; it goes on from its last checkpoint.
    """
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    limit = time.monotonic() + GRACE
    for process in processes:
        # A second Ctrl-C: they are not asked any longer.
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(max(0.0, limit - time.monotonic()))
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def tail(path: Path, start: int = 0) -> str:
    """The last lines of a file, of those behind a position."""
    with path.open('rb') as file:
        file.seek(max(start, path.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors='replace')
    return '\n'.join(f'    {line}' for line in text.splitlines()[-TAIL_LINES:])
