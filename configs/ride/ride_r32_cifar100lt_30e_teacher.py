"""The teacher of distilled RIDE on CIFAR-100-LT in 30 epochs.

As `ride_r32_cifar100lt_teacher.py`, on the schedule for machines without a GPU.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_teacher.py

Measured with this command (seed 0, last epoch, one CPU thread) on a near-lossless copy
of CIFAR-100 (hence with `check_md5=False` for the three data sets), top-1 %: 38.87 all,
58.71 / 37.86 / 16.90 many / medium / few; the experts alone 31.70 to 33.63.
Images were augmented one by one then, which has other random draws than now.
"""

_base_ = './ride_r32_cifar100lt_30e.py'

model = dict(num_experts=6)
