"""Write configs for your own images: ``python tools/new_dataset.py DATA_ROOT``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ride_mm.cli.new_dataset import new_dataset_main  # noqa: E402

if __name__ == '__main__':
    new_dataset_main()
