"""What a V-MoE's routers do: ``python .../vmoe_routing.py CONFIG CHECKPOINT``."""

import sys
from pathlib import Path

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ride_mm.cli.analysis_tools.vmoe_routing import vmoe_routing_main  # noqa: E402

if __name__ == '__main__':
    vmoe_routing_main()
