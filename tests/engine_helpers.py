"""A tiny dataset, network and config for tests of the engine.

Importing this module registers them; configs of other processes import it by name.
"""

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import DATASETS, METRICS, MODELS
from mmpretrain.visualization import UniversalVisualizer
from torch import nn

import ride_mm  # noqa: F401  (registers what the configs name)
from ride_mm.cli.runs.work_dir import LOCK
from ride_mm.engine.checkpoint_io import load_checkpoint_file
from ride_mm.models.backbones import RIDEResNetCIFAR

REPOSITORY = Path(__file__).resolve().parents[1]
CLASSES = 3
HAS_COMPILER = bool(shutil.which('g++') or shutil.which('clang++'))
needs_compiler = pytest.mark.skipif(
    not HAS_COMPILER,
    reason='PyTorch compiles for CPUs by a C++ compiler, and this machine has none',
)
_numbers = itertools.count()


@DATASETS.register_module(force=True)
class EngineTestImages(BaseDataset):
    """Random 8 x 8 images, brighter in later classes."""

    METAINFO = {'classes': [f'class {c}' for c in range(CLASSES)]}

    def __init__(self, size: int, **kwargs) -> None:
        self.size = size
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        rng = np.random.default_rng(self.size)
        labels = np.arange(self.size) % CLASSES
        images = (
            rng.integers(0, 100, (self.size, 8, 8, 3))
            + 40 * labels[:, None, None, None]
        )
        return [
            {'img': image.astype(np.uint8), 'gt_label': int(label)}
            for image, label in zip(images, labels, strict=True)
        ]


@MODELS.register_module(force=True)
class EngineTestNet(BaseModule):
    """One convolution with BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.dropout(self.norm(self.conv(x)).relu()),)


@MODELS.register_module(force=True)
class ShortRIDEResNetCIFAR(RIDEResNetCIFAR):
    """One block a stage, which is soon compiled: ``depth=8``."""

    depths = (8,)


@METRICS.register_module(force=True)
class EngineTestScore(BaseMetric):
    """Mean negative log-likelihood; unlike an accuracy it is never the same twice."""

    default_prefix = 'score'

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        for sample in data_samples:
            score = sample['pred_score'][sample['gt_label']].item()
            self.results.append(-np.log(score))

    def compute_metrics(self, results: list[float]) -> dict:
        return {'nll': np.mean(results)}


def tiny_config(work_dir: Path | str, **changes) -> Config:
    """A config that trains for 3 epochs of 3 iterations with all kinds of randomness.

    Args:
        work_dir: Where the run writes.
        **changes: Overrides, with ``__`` for the dots of ``--cfg-options``.
    """
    base = Config.fromfile(REPOSITORY / 'configs/_base_/default_runtime.py')

    def loader(size: int, train: bool) -> dict:
        pipeline = [
            {'type': 'RandomCrop', 'crop_size': 8, 'padding': 2},
            {'type': 'RandomFlip', 'prob': 0.5},
        ]
        dataset = {
            'type': 'EngineTestImages',
            'size': size,
            'pipeline': [*(pipeline if train else []), {'type': 'PackInputs'}],
            'test_mode': not train,
        }
        return {
            'batch_size': 8,
            'num_workers': 0,
            'persistent_workers': False,
            'collate_fn': {'type': 'default_collate'},
            'sampler': {'type': 'DefaultSampler', 'shuffle': train},
            'dataset': {'type': 'LongTailed', 'dataset': dataset} if train else dataset,
        }

    base.merge_from_dict(
        {
            'custom_imports.imports': ['ride_mm', 'engine_helpers'],
            'default_hooks.checkpoint.max_keep_ckpts': 1,
            'default_hooks.checkpoint.save_best': 'score/nll',
            'default_hooks.checkpoint.rule': 'less',
            'default_hooks.logger.interval': 1,
            'work_dir': str(work_dir),
            'experiment_name': f'engine_test_{os.getpid()}_{next(_numbers)}',
            'model': {
                'type': 'ImageClassifier',
                'backbone': {'type': 'EngineTestNet'},
                'neck': {'type': 'GlobalAveragePooling'},
                'head': {
                    'type': 'LinearClsHead',
                    'num_classes': CLASSES,
                    'in_channels': 4,
                    'loss': {'type': 'CrossEntropyLoss', 'use_soft': True},
                    'cal_acc': False,
                },
                'train_cfg': {'augments': {'type': 'Mixup', 'alpha': 0.2}},
            },
            'data_preprocessor': {
                'num_classes': CLASSES,
                'mean': [90.0] * 3,
                'std': [50.0] * 3,
                'to_onehot': True,
            },
            'optim_wrapper': {
                'optimizer': {'type': 'SGD', 'lr': 0.05, 'momentum': 0.9}
            },
            'param_scheduler': [
                {'type': 'LinearLR', 'start_factor': 0.5, 'begin': 0, 'end': 1},
                {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5},
            ],
            'train_cfg': {'by_epoch': True, 'max_epochs': 3, 'val_interval': 1},
            'val_cfg': {},
            'test_cfg': {},
            'auto_scale_lr': {'base_batch_size': 8},
            'train_dataloader': loader(24, train=True),
            'val_dataloader': loader(13, train=False),
            'val_evaluator': [
                {'type': 'EngineTestScore'},
                {'type': 'Accuracy', 'topk': (1,)},
            ],
        }
    )
    base.test_dataloader = base.val_dataloader
    base.test_evaluator = base.val_evaluator
    base.merge_from_dict({k.replace('__', '.'): v for k, v in changes.items()})
    return base


def run_tiny(work_dir: Path | str, **changes) -> Runner:
    """Train :func:`tiny_config` in this process, on the CPU."""
    with mock.patch('mmengine.device.utils.DEVICE', 'cpu'):
        runner = Runner.from_cfg(tiny_config(work_dir, **changes))
        runner.train()
    return runner


@contextmanager
def stopped_in_epoch_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a run of :func:`tiny_config` break off at its fifth step."""
    steps = []
    original = ImageClassifier.train_step

    def stop(*args, **kwargs):
        steps.append(1)
        if len(steps) == 5:
            raise ConnectionError('the power went off')
        return original(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(ImageClassifier, 'train_step', stop)
        yield


def error_of(main: Callable, *argv: object) -> str:
    """What a tool tells its user, in this process, before it ends."""
    forget_runs()
    with pytest.raises(SystemExit) as err:
        main([str(arg) for arg in argv])
    assert str(err.value.code).startswith('error: '), err.value.code
    return str(err.value.code)


def forget_runs() -> None:
    """Forget MMEngine's global objects, which runs of the same name would share."""
    for manager in (DefaultScope, MMLogger, MessageHub, UniversalVisualizer):
        manager._instance_dict.clear()


def checkpoint_digest(path: Path | str) -> str:
    """Hash of weights, optimizer, schedule and best score of a checkpoint."""
    checkpoint = load_checkpoint_file(path)
    info = checkpoint['message_hub']['runtime_info']
    digest = hashlib.sha256()

    def add(obj: object) -> None:
        if isinstance(obj, torch.Tensor):
            digest.update(f'{obj.dtype}{tuple(obj.shape)}'.encode())
            digest.update(obj.contiguous().numpy().tobytes())
        elif isinstance(obj, dict):
            for key in sorted(obj, key=str):
                digest.update(str(key).encode())
                add(obj[key])
        elif isinstance(obj, (list, tuple)):
            for value in obj:
                add(value)
        else:
            digest.update(repr(obj).encode())

    for part in (
        checkpoint['state_dict'],
        checkpoint['optimizer'],
        checkpoint['param_schedulers'],
        info['best_score'],
        Path(info['best_ckpt']).name,
    ):
        add(part)
    return digest.hexdigest()


def files_in(work_dir: Path | str) -> list[str]:
    """Names of the checkpoints, and of whatever else a run should have removed."""
    return sorted(
        path.name
        for path in Path(work_dir).iterdir()
        if path.is_file() and path.suffix != '.py' and path.name != LOCK
    )


def run_tool(
    *command: str, env: dict | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess:
    """Run a tool of the repository on the CPU with this interpreter."""
    program = str(REPOSITORY / 'tools' / command[0])
    start = [sys.executable] if program.endswith('.py') else ['bash']
    paths = [
        str(REPOSITORY),
        str(REPOSITORY / 'tests'),
        os.environ.get('PYTHONPATH', ''),
    ]
    return subprocess.run(
        [*start, program, *map(str, command[1:])],
        env={
            **os.environ,
            'PYTHON': sys.executable,
            'PYTHONPATH': os.pathsep.join(filter(None, paths)),
            'CUDA_VISIBLE_DEVICES': '-1',
            'OMP_NUM_THREADS': '1',
            **(env or {}),
        },
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )


def run_program(name: str, folder: Path, *arguments: str) -> Path:
    """Run a program of the tests on the CPU, one thread for each of its processes.

    Returns:
        The folder, in which the program wrote.
    """
    done = run_tool(f'../tests/{name}', folder, *arguments)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder
