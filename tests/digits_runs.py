"""Both stages of RIDE on digits-LT, trained for an epoch or two."""

import json
from pathlib import Path

from engine_helpers import forget_runs

from ride_mm.cli import test_main as main_of_test
from ride_mm.cli import train_main

ONE, TWO = 'ride_r20_digitslt', 'ride_r20_digitslt_router'


def train_experts(folder: Path) -> Path:
    """Train stage one for one epoch and name its checkpoint."""
    forget_runs()
    train_main([ONE, '--work-dir', str(folder), '--epochs', '1', '--no-validate'])
    return folder / 'epoch_1.pth'


def train_router(folder: Path, start: Path | None, *arguments: str) -> Path:
    """Train stage two for two epochs and name its checkpoint."""
    forget_runs()
    options = ['--cfg-options', f'load_from={start}', 'train_cfg.val_interval=1']
    options += arguments
    train_main([TWO, '--work-dir', str(folder), '--epochs', '2', *options])
    return folder / 'epoch_2.pth'


def metrics_of(
    checkpoint: Path, folder: Path, *options: str, config: Path | str = TWO
) -> dict[str, float]:
    """Test a checkpoint of stage two."""
    forget_runs()
    target = folder / 'metrics.json'
    arguments = [str(config), str(checkpoint), '--work-dir', str(folder)]
    options = ['--cfg-options', *options] if options else []
    main_of_test([*arguments, '--json', str(target), *options])
    return json.loads(target.read_text())['metrics']
