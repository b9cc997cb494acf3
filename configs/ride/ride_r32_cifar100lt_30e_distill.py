"""RIDE with 3 experts on CIFAR-100-LT, distilled from 6 experts, in 30 epochs.

As `ride_r32_cifar100lt_distill.py`, on the schedule for machines without a GPU and with
a warm-up of 3 epochs.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_teacher.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_distill.py

Measured with these commands (seed 0, last epoch, one CPU thread) on a near-lossless
copy of CIFAR-100 (hence with `check_md5=False` for the three data sets), top-1 %: 37.32
all, 56.74 / 36.54 / 15.57 many / medium / few; the experts alone 33.14, 31.03, 33.21.
Without a teacher (`ride_r32_cifar100lt_30e.py`) it is 37.37 all, 58.14 / 35.80 / 14.97:
in 30 epochs and one run each the teacher, 38.87 all, makes no difference overall.
Images were augmented one by one then, which has other random draws than now.
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
