"""RIDE with 3 experts on CIFAR-100-LT, distilled from 6 experts, in 30 epochs.

As `ride_r32_cifar100lt_distill.py`, on the schedule for machines without a GPU and with
a warm-up of 3 epochs.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_teacher.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_distill.py
"""

_base_ = './ride_r32_cifar100lt_30e.py'

model = dict(distill=dict(kd=dict(type='KDLoss', temperature=1.5, form='official')))
default_hooks = dict(
    teacher=dict(
        type='KDHook',
        config='ride_r32_cifar100lt_30e_teacher',
        checkpoint='work_dirs/ride_r32_cifar100lt_30e_teacher/epoch_30.pth',
    )
)
# Factor (e + 1) / 3 in epoch e < 3.
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, begin=0, end=3, by_epoch=True),
    dict(type='MultiStepLR', milestones=[24, 27], gamma=0.01, by_epoch=True),
]
