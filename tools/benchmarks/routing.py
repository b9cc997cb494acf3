"""The time that routing saves: ``python .../routing.py CONFIG [options]``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ride_mm.cli.benchmarks.routing import routing_benchmark_main  # noqa: E402

if __name__ == '__main__':
    routing_benchmark_main()
