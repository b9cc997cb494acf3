"""Hook that refuses to resume a run under another schedule."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.dist import all_gather, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from mmpretrain.registry import HOOKS
from torch import tensor
from torch.utils.data import DataLoader

from ...utils.listing import first_few
from ...utils.wrapped import wrapped_datasets

KEY = 'training'
# Where weights come from, how images lie in memory, and whatever else does not change
# how training goes on.
NOT_DESCRIBED = frozenset(
    {'init_cfg', 'pretrained', 'checkpoint', 'ckpt', 'load_from', 'channels_last'}
)
# Where images are and how they are read and checked, which is free, too.
NOT_DESCRIBED_OF_DATA = NOT_DESCRIBED | {
    'data_root',
    'data_prefix',
    'ann_file',
    'metainfo',
    'backend_args',
    'file_client_args',
    'check_md5',
    'check_images',
    'expected_hash',
    'download',
    'lazy_init',
}


class ScheduleChangedError(RuntimeError):
    """A run that was to be resumed is described differently than its checkpoint."""


def describe_training(runner: Runner) -> dict:
    """Describe what decides how training goes on, as plain data.

    That is the number of epochs, the schedules, the optimizer, the model, the batch
    over all processes, the training set with its pipeline, subset and class counts, its
    sampler, and what hooks name in ``training_settings``. Paths, workers and logging
    are not part of it.
    """
    loader = runner.train_dataloader
    return {
        **describe_config(runner.cfg),
        'max_epochs': runner.max_epochs,
        'images_per_step': batch_size_of(loader) * runner.world_size,
        'training_images': len(loader.dataset),
        'steps_per_epoch': len(loader),
        'class_counts': _class_counts(loader.dataset),
        'subset_hash': subset_hash_of(loader.dataset),
        'hooks': {
            type(hook).__name__: settings
            for hook in runner.hooks
            if (settings := _settings(hook))
        },
    }


def describe_config(cfg: Mapping[str, Any]) -> dict:
    """What a config says of how training goes on, as plain data, without paths."""
    parts = (
        'param_scheduler',
        'optim_wrapper',
        'auto_scale_lr',
        'model',
        'data_preprocessor',
    )
    return {
        **{part: plain(cfg.get(part)) for part in parts},
        'train_dataloader': data_settings(cfg.get('train_dataloader')),
    }


def plain(obj: Any, left_out: frozenset = NOT_DESCRIBED) -> Any:
    """Part of a config as dictionaries, lists, numbers and strings, without paths."""
    if isinstance(obj, dict):
        return {
            str(key): plain(value, left_out)
            for key, value in obj.items()
            # The names of classes may stand in a file.
            if key not in left_out and not (key == 'classes' and isinstance(value, str))
        }
    if isinstance(obj, (list, tuple)):
        return [plain(value, left_out) for value in obj]
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    kind = obj if isinstance(obj, type) or hasattr(obj, '__qualname__') else type(obj)
    return f'{kind.__module__}.{kind.__qualname__}'


def data_settings(loader: Any) -> dict:
    """Those settings of a data loader that decide which images come, and how."""
    if not isinstance(loader, dict):
        return {}
    return {
        key: plain(loader.get(key), NOT_DESCRIBED_OF_DATA)
        for key in ('dataset', 'sampler', 'batch_sampler')
    }


def batch_size_of(loader: DataLoader) -> int:
    """Images of a whole batch, 0 if batches have sizes of their own."""
    if loader.batch_size is not None:
        return loader.batch_size
    return getattr(loader.batch_sampler, 'batch_size', 0)


def _class_counts(dataset: Any) -> list[int]:
    for one in wrapped_datasets(dataset):
        counts = getattr(one, 'class_counts', None)
        if counts is not None:
            return [int(count) for count in counts]
    return []


def subset_hash_of(dataset: Any) -> str | None:
    """The hash that says which images a dataset has, if any wrapper knows it."""
    for one in wrapped_datasets(dataset):
        subset = getattr(one, 'hash', None)
        if isinstance(subset, str):
            return subset
    return None


def _settings(hook: Hook) -> dict:
    """Those settings of a hook that change training."""
    names = getattr(hook, 'training_settings', ())
    return {name: plain(getattr(hook, name)) for name in names if hasattr(hook, name)}


def _other_seed(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[str]:
    """Name another seed than the checkpoint's; without one MMEngine takes that."""
    before = checkpoint.get('meta', {}).get('seed')
    now = (runner.cfg.get('randomness') or {}).get('seed')
    if before is not None and now is not None:
        yield from differences(before, now, 'randomness.seed')


def differences(expected: Any, got: Any, where: str = '') -> Iterator[str]:
    """Name each place where two descriptions differ."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in {**expected, **got}:
            yield from differences(
                expected.get(key), got.get(key), f'{where}.{key}' if where else key
            )
    elif (
        isinstance(expected, list)
        and isinstance(got, list)
        and len(expected) == len(got)
        and where != 'class_counts'
    ):
        for i, pair in enumerate(zip(expected, got, strict=True)):
            yield from differences(*pair, f'{where}[{i}]')
    elif expected != got:
        yield f'{where}: expected {_short(expected)}, got {_short(got)}'


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else f'{text[:120]} ... {text[-30:]}'


@HOOKS.register_module()
class ScheduleGuardHook(Hook):
    """Stores a description of the training and refuses to resume a different one.

    MMEngine takes a schedule's state from the checkpoint, so a run that is resumed with
    more epochs would silently keep the old learning rate. Starting anew from a
    checkpoint's weights (``load_from``) is not affected.

    A hook whose settings change training names them in an attribute
    ``training_settings``, a tuple of its attributes' names.
    """

    priority = 'VERY_HIGH'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store the description."""
        if isinstance(runner._train_loop, BaseLoop):
            checkpoint[KEY] = describe_training(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the description, if the run is to be resumed.

        Raises:
            ScheduleChangedError: If it differs, with all differences.
        """
        if not runner._resume or not isinstance(runner._train_loop, BaseLoop):
            return
        if KEY not in checkpoint:
            runner.logger.warning(
                'The checkpoint does not say how it was trained: make sure that '
                'schedule, batch size and training set are the same as before.'
            )
            return
        before = dict(checkpoint[KEY])
        # A checkpoint of an earlier version describes less, or more of data and model.
        if 'train_dataloader' in before:
            before['train_dataloader'] = data_settings(before['train_dataloader'])
        if 'model' in before:
            before['model'] = plain(before['model'])
        now = {k: v for k, v in describe_training(runner).items() if k in before}
        found = [*_other_seed(runner, checkpoint), *differences(before, now)]
        if found:
            raise ScheduleChangedError(
                'cannot resume: expected the training of the checkpoint, got a '
                'different one from the config:\n  '
                + first_few(found, 10, '\n  ')
                + '\nTo go on, resume with the same settings. To train differently '
                'from these weights, start anew, without --resume and in another work '
                'directory: --cfg-options load_from=CHECKPOINT.'
            )

    def before_train(self, runner: Runner) -> None:
        """Check that there is something to do, and all processes start alike.

        Raises:
            RuntimeError: If some have found a checkpoint and others have not.
            ValueError: If there is no batch to train on.
        """
        loader = runner.train_dataloader
        if len(loader) == 0:
            raise ValueError(
                'train_dataloader: expected at least one batch, got none of '
                f'{batch_size_of(loader)} out of {len(loader.sampler)} images with '
                f'drop_last={loader.drop_last}'
            )
        if get_world_size() == 1:
            return
        starts = [int(start) for start in all_gather(tensor(runner.iter))]
        if len(set(starts)) > 1:
            raise RuntimeError(
                'expected all processes to start at the same iteration, got '
                f'{starts}: the work directory must be visible from all machines'
            )
