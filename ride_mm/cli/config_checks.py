"""Numbers of a config that would be found wrong too late, or not where they stand."""

from mmengine.config import Config

from .errors import UsageError

# The least that makes sense.
LEAST = {
    'train_cfg.val_interval': 1,
    'train_dataloader.batch_size': 1,
    'val_dataloader.batch_size': 1,
    'test_dataloader.batch_size': 1,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'test_dataloader.num_workers': 0,
    'randomness.seed': 0,
}


def check_numbers(cfg: Config) -> None:
    """Refuse numbers that make no sense; what is absent or None is passed over.

    Raises:
        UsageError: With the setting, what was expected, and what came.
    """
    for setting, least in LEAST.items():
        part, _, key = setting.partition('.')
        settings = cfg.get(part)
        value = settings.get(key) if isinstance(settings, dict) else None
        if value is not None and (type(value) is not int or value < least):
            raise UsageError(
                f'{setting}: expected a whole number >= {least}, got {value!r}'
            )
