"""Choose the budget of a trained router: ``python .../route_budget.py CONFIG CKPT``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ride_mm.cli.analysis_tools.route_budget import route_budget_main  # noqa: E402

if __name__ == '__main__':
    route_budget_main()
