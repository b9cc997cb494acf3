"""Settings that would be found wrong too late, or not where they stand."""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from mmengine.config import Config
from mmpretrain.registry import OPTIMIZERS
from torch.nn import utils

from ..errors import UsageError

# Whole numbers, with the least that makes sense and, where there is one, the largest.
WHOLE = {
    'train_cfg.max_epochs': (1, None),
    'train_cfg.max_iters': (1, None),
    'train_cfg.val_interval': (1, None),
    'train_dataloader.batch_size': (1, None),
    'val_dataloader.batch_size': (1, None),
    'test_dataloader.batch_size': (1, None),
    'train_dataloader.num_workers': (0, None),
    'val_dataloader.num_workers': (0, None),
    'test_dataloader.num_workers': (0, None),
    'optim_wrapper.accumulative_counts': (1, None),
    'default_hooks.logger.interval': (1, None),
    'randomness.seed': (0, 2**32 - 1),
}
# Numbers, with whether zero makes sense.
REAL = {
    'optim_wrapper.optimizer.lr': True,
    'optim_wrapper.optimizer.momentum': True,
    'optim_wrapper.optimizer.weight_decay': True,
    'optim_wrapper.clip_grad.max_norm': False,
    'optim_wrapper.clip_grad.clip_value': False,
}
CLIPPING = {'norm': utils.clip_grad_norm_, 'value': utils.clip_grad_value_}


def check_settings(cfg: Config) -> None:
    """Refuse settings that make no sense; what is absent or None is passed over.

    Raises:
        UsageError: With the setting, what was expected, and what came.
    """
    for setting, (least, largest) in WHOLE.items():
        value = _setting(cfg, setting)
        wrong = type(value) is not int or value < least
        if value is not None and (wrong or (largest is not None and value > largest)):
            limits = f'>= {least}' if largest is None else f'from {least} to {largest}'
            raise UsageError(
                f'{setting}: expected a whole number {limits}, got {value!r}'
            )
    for setting, zero in REAL.items():
        value = _setting(cfg, setting)
        if value is not None and not _is_real(value, zero):
            sign = '>=' if zero else '>'
            raise UsageError(f'{setting}: expected a number {sign} 0, got {value!r}')
    _check_clipping(_setting(cfg, 'optim_wrapper.clip_grad'))
    _check_optimizer(_setting(cfg, 'optim_wrapper.optimizer.type'))


def _setting(cfg: Mapping, setting: str) -> Any:
    """A setting by its dotted key, None if it or what it is in is not there."""
    part = cfg
    for key in setting.split('.'):
        part = part.get(key) if isinstance(part, (Mapping, Config)) else None
    return part


def _is_real(value: Any, zero: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and (value > 0 or (zero and value == 0))


def _check_optimizer(name: Any) -> None:
    """Refuse an optimizer that is none, which MMEngine does not name."""
    if not isinstance(name, str) or '.' in name or OPTIMIZERS.get(name) is not None:
        return
    known = [*OPTIMIZERS.module_dict, *OPTIMIZERS.parent.module_dict]
    close = get_close_matches(name, known)
    hint = f'; did you mean {" or ".join(close)}?' if close else ''
    raise UsageError(
        f'optim_wrapper.optimizer.type: expected an optimizer, got {name!r}{hint}'
    )


def _check_clipping(settings: Any) -> None:
    """Refuse what the function that clips gradients takes only after a batch."""
    if not isinstance(settings, Mapping):
        return
    clip = CLIPPING.get(settings.get('type', 'norm'))
    known = {'type', *signature(clip).parameters} - {'parameters'} if clip else set()
    unknown = sorted(set(settings) - known)
    if clip and unknown:
        raise UsageError(
            f'optim_wrapper.clip_grad: expected some of {sorted(known)}, got {unknown}'
        )
