"""Train a config with several seeds: ``python tools/sweep.py CONFIG --seeds 0 1 2``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ride_mm.cli.sweep import sweep_main  # noqa: E402

if __name__ == '__main__':
    sweep_main()
