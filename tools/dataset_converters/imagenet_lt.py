"""Prepare ImageNet-LT: ``python tools/dataset_converters/imagenet_lt.py [options]``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ride_mm.cli.dataset_converters.prepare_dataset import prepare_main  # noqa: E402

if __name__ == '__main__':
    prepare_main('imagenet_lt')
