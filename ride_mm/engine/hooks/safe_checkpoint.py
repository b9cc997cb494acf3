"""Hook that saves checkpoints so that a kill at any moment loses nothing."""

import hashlib
import io
from collections import deque
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from ..checkpoint_io import (
    ATOMIC_BACKEND,
    CheckpointError,
    from_plain,
    load_checkpoint_file,
    plain_data,
    remove_temporary_files,
    to_plain,
    write_atomically,
)

# MMEngine's interval of a hook that saves none but the last and the best.
NEVER = -1


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook in an order that survives a kill.

    A new file is written beside its place, synchronised and renamed; then
    ``last_checkpoint`` follows in the same way; only then are older files removed.
    What is to be removed is noted in the new file, so that a run killed before it
    could do so removes it when resumed. A run killed between a checkpoint and the
    validation of that epoch makes up for the validation when resumed, so the best
    checkpoint is that of a run without interruption. No file outside of ``out_dir`` is
    ever removed.

    Checkpoints hold plain data only and load with ``weights_only=True``.

    Args:
        **kwargs: Options of :class:`mmengine.hooks.CheckpointHook`, except
            ``backend_args`` and ``file_client_args``: files are local.
    """

    def __init__(self, **kwargs: Any) -> None:
        for name in ('backend_args', 'file_client_args'):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f'SafeCheckpointHook writes local files only: expected no {name}, '
                    f'got {kwargs[name]}; for other storage use CheckpointHook'
                )
        if '://' in str(kwargs.get('out_dir') or ''):
            raise ValueError(
                'SafeCheckpointHook writes local files only: expected out_dir to be a '
                f'folder, got {kwargs["out_dir"]}'
            )
        interval = kwargs.get('interval', NEVER)
        if not (isinstance(interval, int) and (interval > 0 or interval == NEVER)):
            raise ValueError(
                'SafeCheckpointHook interval: expected a positive number of epochs (or '
                f'iterations), or {NEVER} for none, got {interval!r}'
            )
        kwargs['backend_args'] = {'backend': ATOMIC_BACKEND}
        super().__init__(**kwargs)

    # Start ----------------------------------------------------------------------------

    def before_train(self, runner: Runner) -> None:
        """Finish what a killed run left: temporary files, pruning, a validation."""
        self._forget_missing_steps(runner)
        super().before_train(runner)
        hub = runner.message_hub
        if is_main_process():
            removed = remove_temporary_files(self.out_dir)
            removed += remove_temporary_files(runner.work_dir)
            if removed:
                runner.logger.info(
                    f'Removed unfinished files of a killed run: {removed}'
                )
        self.last_ckpt = self._here(hub.get_info('last_ckpt'))
        self._set_best(
            {key: self._here(path) for key, path in self._get_best().items()}
        )
        self._remove(runner, hub.get_info('superseded_ckpts', []))
        self._validate_if_missed(runner)

    def _forget_missing_steps(self, runner: Runner) -> None:
        """Drop checkpoints from the list to prune that are not in this folder.

        They belong to another run's folder if this one resumes from there.
        """
        steps = runner.message_hub.get_info('keep_ckpt_ids')
        if steps:
            folder = self._folder(runner)
            runner.message_hub.update_info(
                'keep_ckpt_ids',
                [s for s in steps if (folder / self.filename_tmpl.format(s)).exists()],
            )

    def _folder(self, runner: Runner) -> Path:
        """Where checkpoints will lie, before ``before_train`` has settled it."""
        work_dir = Path(runner.work_dir)
        if self.out_dir in (None, runner.work_dir):
            return work_dir
        return Path(self.out_dir) / work_dir.name

    def _here(self, path: str | None) -> str | None:
        """Look a recorded file up in ``out_dir``, which may have been moved."""
        if path is None:
            return None
        local = Path(self.out_dir) / Path(path).name
        return str(local) if local.is_file() else None

    def _validate_if_missed(self, runner: Runner) -> None:
        loop = runner.train_loop
        epoch = runner.epoch
        if (
            not isinstance(loop, EpochBasedTrainLoop)
            or runner.val_loop is None
            or epoch == 0
            or runner.message_hub.get_info('epoch_validated') == epoch
        ):
            return
        loop._decide_current_val_interval()
        due = epoch % loop.val_interval == 0 or epoch == loop.max_epochs
        if due and epoch >= loop.val_begin:
            runner.logger.info(
                f'The checkpoint is older than the validation of epoch {epoch}: '
                'validating first.'
            )
            runner.val_loop.run()

    # Save -----------------------------------------------------------------------------

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Write, point to what was written, prune; in this order."""
        hub = runner.message_hub
        outdated = []
        if self.max_keep_ckpts > 0:
            kept = [s for s in self.keep_ckpt_ids if s != step] + [step]
            outdated = kept[: -self.max_keep_ckpts]
            # The file lists the outdated ones too: MMEngine prunes them when resuming.
            hub.update_info('keep_ckpt_ids', kept)
            self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :])
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir) / name)
        hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_atomically(self.last_ckpt, Path(runner.work_dir) / 'last_checkpoint')
        self._remove(runner, [self.filename_tmpl.format(s) for s in outdated])
        if self.max_keep_ckpts > 0:
            hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Save the best checkpoint, and note that this epoch is validated."""
        if not isinstance(runner._train_loop, BaseLoop):  # Validation on its own.
            return
        runner.message_hub.update_info('epoch_validated', runner.epoch)
        super().after_val_epoch(runner, metrics or {})

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Have the new best in place before the old one is removed."""
        if not self.save_best:
            return
        missing = [
            key for key in self.key_indicators if key != 'auto' and key not in metrics
        ]
        if missing:
            raise ValueError(
                f'save_best: expected some of the metrics {sorted(metrics)}, got '
                f'{missing}'
            )
        before = self._get_best()
        old = [path for path in before.values() if path is not None]
        runner.message_hub.update_info('superseded_ckpts', old)
        # The parent removes what it knows as the best before it saves the better one.
        self._set_best(dict.fromkeys(before))
        super()._save_best_checkpoint(runner, metrics)
        after = self._get_best()
        self._set_best({key: after[key] or before.get(key) for key in after})
        self._remove(runner, old)

    def _get_best(self) -> dict[str, str | None]:
        """Path of the best checkpoint by metric."""
        if not self.save_best:
            return {}
        if len(self.key_indicators) == 1:
            return {'best': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best(self, paths: dict[str, str | None]) -> None:
        if not self.save_best:
            return
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['best']
        else:
            self.best_ckpt_path_dict = paths

    @master_only
    def _remove(self, runner: Runner, names: list[str]) -> None:
        """Remove files from ``out_dir``, never those that are the last or the best."""
        needed = {self.last_ckpt, *self._get_best().values()}
        for name in names:
            path = Path(self.out_dir) / Path(name).name
            if str(path) not in needed and path.is_file():
                path.unlink()
                runner.logger.info(f'Removed the outdated checkpoint {path}')

    # Content --------------------------------------------------------------------------

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn everything in the checkpoint into plain data.

        Raises:
            CheckpointError: If there is something that cannot be, with its keys.
        """
        checkpoint['message_hub'] = to_plain(checkpoint['message_hub'])
        for scheduler in _schedulers(checkpoint):
            # Functions of a schedule come from the config, not from the checkpoint.
            for key in [key for key, value in scheduler.items() if callable(value)]:
                del scheduler[key]
        for key, value in checkpoint.items():
            checkpoint[key] = plain_data(value, f'checkpoint[{key!r}]')

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Undo the conversion, before MMEngine resumes from the checkpoint.

        Raises:
            CheckpointError: If a run cannot be resumed from this checkpoint.
        """
        needed = ('meta', 'state_dict', 'message_hub', 'optimizer')
        missing = [key for key in needed if key not in checkpoint]
        if runner._resume and missing:
            raise CheckpointError(
                f'resume: expected a checkpoint of a training run, got one without '
                f'{", ".join(missing)} (published or best checkpoints hold no state of '
                'the optimizer); to start anew from its weights set load_from instead'
            )
        if 'message_hub' in checkpoint:
            checkpoint['message_hub'] = from_plain(checkpoint['message_hub'])
        if 'meta' in checkpoint:
            self._restore_dataset_meta(runner, checkpoint['meta'])

    @staticmethod
    def _restore_dataset_meta(runner: Runner, meta: dict) -> None:
        """Keep MMEngine, which compares pickles, from reporting a change of type."""
        if isinstance(runner._train_loop, BaseLoop):
            current = getattr(runner.train_dataloader.dataset, 'metainfo', None)
            if _same(plain_data(current, 'metainfo'), meta.get('dataset_meta')):
                meta['dataset_meta'] = current

    # Publish --------------------------------------------------------------------------

    @master_only
    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        """Write the published keys to a file named by its SHA-256."""
        checkpoint = load_checkpoint_file(ckpt_path)
        content = io.BytesIO()
        torch.save(
            {k: v for k, v in checkpoint.items() if k in self.published_keys}, content
        )
        digest = hashlib.sha256(content.getbuffer()).hexdigest()
        path = Path(ckpt_path)
        path = path.with_name(f'{path.stem}-{digest[:8]}.pth')
        write_atomically(content.getbuffer(), path)
        runner.logger.info(f'Published {", ".join(self.published_keys)} to {path}')


def _schedulers(checkpoint: dict) -> list[dict]:
    """The schedulers' states of a checkpoint, of one or of several optimizers."""
    states = checkpoint.get('param_schedulers', [])
    if isinstance(states, dict):
        return [state for group in states.values() for state in group]
    return states


def _same(a: Any, b: Any) -> bool:
    """Whether two plain objects hold the same."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return type(a) is type(b) and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b
