"""The speed of V-MoE's layer of experts: ``python .../vmoe.py [options]``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ride_mm.cli.benchmarks.vmoe import vmoe_benchmark_main  # noqa: E402

if __name__ == '__main__':
    vmoe_benchmark_main()
