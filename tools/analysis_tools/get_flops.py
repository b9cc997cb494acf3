"""The cost of each part of a model: ``python .../get_flops.py CONFIG [options]``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ride_mm.cli.analysis_tools.get_flops import flops_main  # noqa: E402

if __name__ == '__main__':
    flops_main()
