"""Schedules of another length."""

from mmengine.config import Config


def scale_schedule(cfg: Config, epochs: int | None) -> dict[str, object]:
    """Find the changes that train for another number of epochs.

    Args:
        cfg: The config.
        epochs: Epochs wanted; None for those of the config.

    Returns:
        Changes to the config, by dotted key.
    """
    if epochs is None or epochs == cfg.train_cfg.max_epochs:
        return {}
    scale = epochs / cfg.train_cfg.max_epochs
    options = {'train_cfg.max_epochs': epochs, 'train_cfg.val_interval': epochs}
    for i, scheduler in enumerate(cfg.param_scheduler):
        for key in ('begin', 'end', 'T_max'):
            if scheduler.get(key):
                value = max(1, round(scale * scheduler[key]))
                options[f'param_scheduler.{i}.{key}'] = value
        if 'milestones' in scheduler:
            options[f'param_scheduler.{i}.milestones'] = [
                int(scale * epoch) for epoch in scheduler.milestones
            ]
    reweight_epoch = cfg.default_hooks.reweight.get('reweight_epoch')
    if reweight_epoch is not None:
        options['default_hooks.reweight.reweight_epoch'] = int(scale * reweight_epoch)
    return options
