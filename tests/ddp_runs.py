"""Trains RIDE in one and two processes; a program for the tests.

    python ddp_runs.py FOLDER TRAINING...

Each of ``TRAININGS`` trains into ``FOLDER/TRAINING``. BatchNorm normalises the images
that a process has in each batch, as groups of one process, so that all trainings
compute alike.
"""

import sys
from pathlib import Path

import torch
from engine_helpers import tiny_config
from expert_parallel_runs import in_processes
from mmengine.config import Config

from ride_mm.cli import train_main

BATCHED = (
    'data_preprocessor.type=LTDataPreprocessor',
    'train_dataloader.collate_fn.type=take_batch',
    'train_dataloader.dataset.type=BatchedLongTailed',
)
COMPILED = ('default_hooks.compile.enable=True',)
HALF = ('optim_wrapper.type=AutocastOptimWrapper',)
AVERAGED = (
    'default_hooks.average.type=LTEMAHook',
    'default_hooks.average.momentum=0.5',
)
# Name: processes, settings, and the checkpoint from which to go on.
TRAININGS = {
    'one': (1, (), None),
    'two': (2, (), None),
    'two_after_two': (2, (), 'two/epoch_1.pth'),
    'two_batched': (2, BATCHED, None),
    'two_compiled': (2, COMPILED, None),
    'two_half': (2, HALF, None),
    'two_half_after_two': (2, HALF, 'two_half/epoch_1.pth'),
    'one_half': (1, HALF, None),
    'one_averaged': (1, AVERAGED, None),
    'two_averaged': (2, AVERAGED, None),
}


def config(root: Path) -> Config:
    """RIDE with 2 experts, for 2 epochs of 3 steps, re-weighted in the second."""
    cfg = tiny_config(root, train_cfg__max_epochs=2)
    cfg.pop('work_dir')
    cfg.model = dict(
        type='RIDEClassifier',
        num_experts=2,
        backbone=dict(
            type='ShortRIDEResNetCIFAR',
            depth=8,
            norm_cfg=dict(type='GroupedBN', images_per_group=4),
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='MultiExpertHead',
            num_classes=3,
            loss=dict(type='LDAMLoss', reweight='deferred'),
            diversity=dict(type='DiversityLoss', factor=-0.45),
        ),
    )
    cfg.default_hooks.reweight = dict(type='DeferredReweightHook', reweight_epoch=1)
    cfg.data_preprocessor.to_onehot = False
    cfg.optim_wrapper.optimizer.lr = 1e-3
    cfg.train_dataloader.dataset.dataset.pipeline = [dict(type='PackInputs')]
    return cfg


def train(root: Path, name: str) -> None:
    processes, settings, start = TRAININGS[name]
    # Formatting the config for the log would take longer than the training.
    Config.pretty_text = property(lambda self: '')
    options = [
        f'train_dataloader.batch_size={8 // processes}',
        'default_hooks.checkpoint.max_keep_ckpts=-1',
        *settings,
    ]
    argv = [str(root / 'ride.py'), '--work-dir', str(root / name)]
    if processes > 1:
        argv += ['--launcher', 'pytorch']
    if start is not None:
        argv += ['--resume', str(root / start)]
    train_main([*argv, '--cfg-options', *options])


def main(root: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    root.mkdir(parents=True, exist_ok=True)
    config(root).dump(root / 'ride.py')
    for name in names:
        in_processes(
            TRAININGS[name][0], lambda rank, name=name: train(root, name), root / 'log'
        )


if __name__ == '__main__':
    main(Path(sys.argv[1]), sys.argv[2:])
