"""Reproduce a published table: ``python tools/reproduce.py cifar100lt [options]``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ride_mm.cli.reproduce import reproduce_main  # noqa: E402

if __name__ == '__main__':
    reproduce_main()
