"""Train a model: ``python tools/train.py CONFIG [options]``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ride_mm.cli import train_main  # noqa: E402

if __name__ == '__main__':
    train_main()
