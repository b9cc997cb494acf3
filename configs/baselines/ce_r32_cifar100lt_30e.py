"""`ce_r32_cifar100lt.py` in 30 epochs, for machines without a GPU.

    python tools/train.py configs/baselines/ce_r32_cifar100lt_30e.py

Measured (mean of seeds 0 and 1, last epoch, `--amp bf16 --compile`, cores of a Xeon) on
a near-lossless copy of CIFAR-100 whose pixels differ by about 1 of 255 from the
published files, top-1 %: 29.70 all, 59.49 / 23.87 / 1.73 many / medium / few (all:
29.33, 30.06). `docs/results/cifar100lt.md` has the commands.
"""

_base_ = './ce_r32_cifar100lt.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=0.5, begin=0, end=2, by_epoch=True),
    dict(type='MultiStepLR', milestones=[24, 27], gamma=0.01, by_epoch=True),
]
train_cfg = dict(max_epochs=30, val_interval=5)
