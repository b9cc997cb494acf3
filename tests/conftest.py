"""Settings that all tests share."""

import os

import pytest

THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')
UNSET = [name for name in THREADS if name not in os.environ]
MOST_WORKERS = 8  # Each imports everything, and the largest file is one worker's.


def use_threads(number: int) -> None:
    """Limit the threads of each process unless the user did."""
    os.environ.update(dict.fromkeys(UNSET, str(number)))


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# A few threads suffice for small tensors. Set before torch is imported; processes
# that a test starts inherit it.
use_threads(2)
os.environ.setdefault('MPLBACKEND', 'Agg')


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker for each core with ``-n auto``; none for a single one."""
    number = min(cores(), MOST_WORKERS)
    return number if number > 1 else 0


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores among the workers, which inherit the environment."""
    workers = config.getoption('numprocesses', None)
    if workers:
        use_threads(min(2, max(1, cores() // workers)))
