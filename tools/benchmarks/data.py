"""The speed of loading images: ``python .../data.py CONFIG [options]``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ride_mm.cli.benchmarks.data import data_benchmark_main  # noqa: E402

if __name__ == '__main__':
    data_benchmark_main()
