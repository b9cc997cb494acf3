"""Memory that is freed stays with the process."""

import platform
import subprocess
import sys

import pytest

# Twice a block of 64 MiB; prints the pages that the second one had to fetch.
PROGRAM = """
import resource
from ride_mm.utils.freed_memory import keep_freed_memory

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if {keep}:
    assert keep_freed_memory()
size = 2**26
bytearray(size)
before = pages()
bytearray(size)
print(pages() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='glibc keeps on request')
@pytest.mark.parametrize('keep', [True, False])
def test_freed_memory_is_used_again(keep: bool):
    result = subprocess.run(
        [sys.executable, '-c', PROGRAM.format(keep=keep)],
        capture_output=True,
        text=True,
        check=True,
    )
    pages = int(result.stdout.split()[-1])
    assert pages < 100 if keep else pages > 1000
