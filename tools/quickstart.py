"""Train and compare small networks: ``python tools/quickstart.py [options]``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ride_mm.cli.quickstart import quickstart_main  # noqa: E402

if __name__ == '__main__':
    quickstart_main()
