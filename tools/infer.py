"""Classify images: ``python tools/infer.py CONFIG CHECKPOINT IMAGES... [options]``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ride_mm.cli.infer import infer_main  # noqa: E402

if __name__ == '__main__':
    infer_main()
