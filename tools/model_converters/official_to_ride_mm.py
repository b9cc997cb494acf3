"""Convert the authors' weights: ``python .../official_to_ride_mm.py SRC DST``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ride_mm.cli.model_converters.official_to_ride_mm import convert_official_main  # noqa: E402

if __name__ == '__main__':
    convert_official_main()
