"""`ce_r32_cifar100lt.py` in 30 epochs, for machines without a GPU.

    python tools/train.py configs/baselines/ce_r32_cifar100lt_30e.py

Measured with this command (seed 0, last epoch, one CPU thread), images augmented one by
one, which has other random draws, on a near-lossless copy of CIFAR-100 (hence with
`check_md5=False` for the three data sets), top-1 %: 30.22 all, 59.91 / 24.37 / 2.40
many / medium / few. Its log is in docs/results/cifar100lt.json.
"""

_base_ = './ce_r32_cifar100lt.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=0.5, begin=0, end=2, by_epoch=True),
    dict(type='MultiStepLR', milestones=[24, 27], gamma=0.01, by_epoch=True),
]
train_cfg = dict(max_epochs=30, val_interval=5)
