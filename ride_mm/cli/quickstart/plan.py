"""The trainings that the quickstart compares."""

from pathlib import Path

from ...utils import find_config
from ..configs.loading import read_config
from ..experiments import Run, check_config, config_content, last_checkpoint_name

CONFIGS = {
    'CE': 'ce_r20_digitslt',
    'RIDE': 'ride_r20_digitslt',
    'RIDE, routed': 'ride_r20_digitslt_router',
}
# Whose weights a model starts from.
START = {'RIDE, routed': 'RIDE'}
# What a test says of each class, in the folder of its training.
CLASSES = 'classes.csv'


def plan_runs(folder: Path, epochs: int | None = None) -> list[Run]:
    """Describe the trainings, each after the one whose weights it starts from.

    Args:
        folder: Of all trainings.
        epochs: How long to train, None for as long as the configs say. Routers, which
            start from another's weights, need no longer than that.

    Raises:
        UsageError: If that is no number of epochs.
    """
    runs = {}
    for name, config in CONFIGS.items():
        path = str(find_config(config))
        needs = {'load_from': runs[START[name]]} if name in START else {}
        own = read_config(path).train_cfg.max_epochs
        wanted = own if epochs is None else min(epochs, own) if needs else epochs
        options = () if wanted == own else ('--epochs', str(wanted))
        cfg = check_config(path, (), options)
        runs[name] = Run(
            name=name,
            config=path,
            work_dir=folder / config,
            seed=cfg.randomness.seed,
            checkpoint_name=last_checkpoint_name(cfg),
            free=(f'test_evaluator.0.csv={folder / config / CLASSES}',),
            train_options=options,
            needs=needs,
            content=config_content(cfg),
        )
    return list(runs.values())
