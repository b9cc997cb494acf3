"""Look at every image: ``python tools/misc/verify_dataset.py CONFIG [options]``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ride_mm.cli.misc.verify_dataset import verify_dataset_main  # noqa: E402

if __name__ == '__main__':
    verify_dataset_main()
