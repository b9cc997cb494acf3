"""Few-shot accuracy of features: ``python .../few_shot.py CONFIG CHECKPOINT``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ride_mm.cli.analysis_tools.few_shot import few_shot_main  # noqa: E402

if __name__ == '__main__':
    few_shot_main()
