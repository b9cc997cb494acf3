"""Make a checkpoint to hand on: ``python .../publish_model.py SRC DST``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ride_mm.cli.model_converters.publish_model import publish_model_main  # noqa: E402

if __name__ == '__main__':
    publish_model_main()
