"""Test all checkpoints of a folder: ``python tools/evaluate_zoo.py FOLDER``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ride_mm.cli.evaluate_zoo import evaluate_zoo_main  # noqa: E402

if __name__ == '__main__':
    evaluate_zoo_main()
