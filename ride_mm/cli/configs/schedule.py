"""Schedules of another length."""

from fractions import Fraction

from mmengine.config import Config

from ..errors import UsageError

# What a scheduler counts in epochs (or iterations): numbers, and lists of them.
POSITIONS = ('begin', 'end', 'T_max', 'step_size', 'total_steps')
LISTS = ('milestones', 'periods')


def scale_schedule(cfg: Config, epochs: int | None) -> dict[str, object]:
    """Find the changes that train for another number of epochs.

    Learning rates and the start of re-weighting change at the same parts of training.

    Args:
        cfg: The config.
        epochs: Epochs wanted; None for those of the config.

    Returns:
        Changes to the config, by dotted key.

    Raises:
        UsageError: If that is no number of epochs, or the config does not count any.
    """
    if epochs is None:
        return {}
    if epochs < 1:
        raise UsageError(f'--epochs: expected at least 1, got {epochs}')
    train_cfg = cfg.get('train_cfg') or {}
    if train_cfg.get('max_epochs') is None:
        raise UsageError(
            '--epochs: expected a config that trains by epoch, with '
            f'train_cfg.max_epochs, got train_cfg={dict(train_cfg)}'
        )
    if epochs == train_cfg['max_epochs']:
        return {}
    scale = Fraction(epochs, train_cfg['max_epochs'])
    options = {'train_cfg.max_epochs': epochs}
    if train_cfg.get('val_interval', 1) > epochs:
        options['train_cfg.val_interval'] = epochs
    schedulers = cfg.get('param_scheduler') or []
    if isinstance(schedulers, dict):
        options.update(_scale_scheduler(schedulers, scale, 'param_scheduler'))
    else:
        for i, scheduler in enumerate(schedulers):
            options.update(_scale_scheduler(scheduler, scale, f'param_scheduler.{i}'))
    reweight = (cfg.get('default_hooks') or {}).get('reweight') or {}
    if reweight.get('reweight_epoch') is not None:
        options['default_hooks.reweight.reweight_epoch'] = int(
            scale * reweight['reweight_epoch']
        )
    return options


def _scale_scheduler(scheduler: dict, scale: Fraction, where: str) -> dict[str, object]:
    scaled = {
        key: max(1, round(scale * scheduler[key]))
        for key in POSITIONS
        if scheduler.get(key)
    }
    if 'begin' in scaled and 'end' in scaled:  # One without an epoch is refused.
        scaled['begin'] = min(scaled['begin'], scaled['end'] - 1)
    if 'start_factor' in scheduler and scaled.get('end') == scaled.get('begin', 0) + 1:
        # A warm-up of one epoch would never reach the full rate.
        scaled['start_factor'] = 1.0
    for key in LISTS:
        if scheduler.get(key):
            scaled[key] = [max(1, int(scale * epoch)) for epoch in scheduler[key]]
    return {f'{where}.{key}': value for key, value in scaled.items()}
