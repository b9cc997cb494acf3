"""One training of an experiment, and the commands that make and test it."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmpretrain.registry import HOOKS

from ...engine.hooks.schedule_guard import data_settings, describe_config, plain
from ...utils import resource_root
from ..errors import UsageError
from ..runs import training

TEST = 'test.json'
CONSOLE = 'console.log'
RECORD = 'default_hooks.run_record.type=RunRecordHook'
# Settings that change what comes out by rounding at most: where the data is, how it is
# read, what is logged, how it is computed.
FREE_SETTINGS = (
    'data_root',
    '*.data_root',
    '*.check_md5',
    '*_dataloader.num_workers',
    '*_dataloader.persistent_workers',
    '*_dataloader.pin_memory',
    '*_dataloader.prefetch_factor',
    'default_hooks.logger.*',
    'default_hooks.checkpoint.interval',
    'default_hooks.checkpoint.max_keep_ckpts',
    'default_hooks.compile.*',
    'default_hooks.cuda_graph.*',
    'model.channels_last',
    'log_level',
)


def is_free(option: str) -> bool:
    """Whether an option ``KEY=VALUE`` leaves a training's result as it is."""
    key = option.partition('=')[0]
    return any(fnmatch(key, pattern) for pattern in FREE_SETTINGS)


@dataclass(frozen=True)
class Run:
    """A training, from its start to the test of its last checkpoint.

    Attributes:
        name: In messages and tables.
        config: Path of a config, or the name of a shipped one.
        work_dir: Of this training alone.
        seed: Of the training.
        checkpoint_name: Of its last checkpoint, see :func:`last_checkpoint_name`.
        options: Settings ``KEY=VALUE`` that decide the result, without the seed.
        free: Settings that do not, see :data:`FREE_SETTINGS`.
        train_options: Further options of ``tools/train.py``, which decide it, too.
        needs: Trainings whose last checkpoint a setting names, by that setting.
        content: Of the config, see :func:`config_content`.
    """

    name: str
    config: str
    work_dir: Path
    seed: int
    checkpoint_name: str
    options: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    train_options: tuple[str, ...] = ()
    needs: Mapping[str, 'Run'] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.work_dir / self.checkpoint_name

    @property
    def console(self) -> Path:
        """Where the output of its commands goes."""
        return self.work_dir / CONSOLE

    def settings(self, free: bool = True) -> list[str]:
        """All settings ``KEY=VALUE``.

        Args:
            free: Whether with those that do not decide the result.
        """
        links = [f'{key}={run.checkpoint}' for key, run in self.needs.items()]
        own = [f'randomness.seed={self.seed}', *self.options, *links]
        return [*own, *self.free] if free else own

    def train_command(self, free: bool = True) -> list[str]:
        """Arguments of Python that train, or go on."""
        return [
            *('tools/train.py', self.config, '--work-dir', str(self.work_dir)),
            *('--resume', *self.train_options),
            *('--cfg-options', *self.settings(free), RECORD),
        ]

    def test_command(self, free: bool = True) -> list[str]:
        """Arguments of Python that test the last checkpoint."""
        return [
            *('tools/test.py', self.config, str(self.checkpoint)),
            *('--work-dir', str(self.work_dir / 'test')),
            *('--json', str(self.work_dir / TEST)),
            *('--cfg-options', *self.settings(free)),
        ]

    def describe(self) -> dict:
        """What decides the result, but for the checkpoints it starts from."""
        return {
            'config': Path(self.config).stem,
            'seed': self.seed,
            'options': sorted(self.options),
            'train_options': list(self.train_options),
        }

    def metrics(self) -> dict[str, float]:
        """What the test gave.

        Raises:
            UsageError: If the file is not there or is not that of a test.
        """
        return read_metrics(self.work_dir)


def read_metrics(work_dir: Path) -> dict[str, float]:
    """Read what the test of a training gave.

    Raises:
        UsageError: If the file is not there or is not that of a test.
    """
    path = work_dir / TEST
    try:
        return dict(json.loads(path.read_text())['metrics'])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise UsageError(f'{path}: expected what a test wrote, got {err!r}') from None


def executable(arguments: Sequence[str]) -> list[str]:
    """Arguments of Python, such as those of ``tools/train.py``, to start anywhere."""
    program, *others = arguments
    return [sys.executable, str(resource_root() / program), *others]


def shown(arguments: Sequence[str]) -> str:
    """Arguments of Python as a user types them."""
    return shlex.join(['python', *arguments])


def check_config(
    config: str, options: Sequence[str], train_options: Sequence[str] = ()
) -> Config:
    """Read a config as ``tools/train.py`` would.

    Raises:
        UsageError: If it or an option is none.
    """
    argv = [config, *train_options]
    if options:
        argv += ['--cfg-options', *options]
    args = training.make_parser().parse_args(argv)
    cfg = training.load_config(args, args.epochs)
    if cfg.get('train_dataloader') is None:
        raise UsageError(
            f'expected a config for training, got {config}, which has no '
            'train_dataloader'
        )
    return cfg


def config_content(cfg: Config) -> dict[str, Any]:
    """What a config says that decides a training and its test, as plain data.

    Without the seed, paths and :data:`FREE_SETTINGS`. Of the hooks only those that
    training depends on are part of it, so that a new one makes no other training.
    """
    content = describe_config(cfg)
    hooks = cfg.get('default_hooks') or {}
    return {
        **content,
        'train_cfg': plain(cfg.get('train_cfg')),
        'batch_size': cfg.train_dataloader.get('batch_size'),
        'drop_last': cfg.train_dataloader.get('drop_last'),
        'custom_hooks': plain(cfg.get('custom_hooks')),
        'default_hooks': {k: plain(v) for k, v in hooks.items() if _decides(v)},
        'test_dataloader': data_settings(cfg.get('test_dataloader')),
        'test_evaluator': plain(cfg.get('test_evaluator')),
    }


def _decides(hook: ConfigDict | None) -> bool:
    """Whether training depends on what a hook's config says."""
    kind = HOOKS.get(hook['type']) if hook and 'type' in hook else None
    return hasattr(kind, 'training_settings')


def last_checkpoint_name(cfg: Config) -> str:
    """Name of the checkpoint that a finished training has.

    Raises:
        UsageError: If the config says neither epochs nor iterations.
    """
    train_cfg = cfg.get('train_cfg') or {}
    for limit, name in (('max_epochs', 'epoch'), ('max_iters', 'iter')):
        if train_cfg.get(limit) is not None:
            return f'{name}_{train_cfg[limit]}.pth'
    raise UsageError(
        'expected a config with train_cfg.max_epochs or train_cfg.max_iters, got '
        f'train_cfg={dict(train_cfg)}'
    )
