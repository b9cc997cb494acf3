"""The teacher of distilled RIDE on CIFAR-100-LT in 30 epochs.

As `ride_r32_cifar100lt_teacher.py`, on the schedule for machines without a GPU.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_teacher.py
"""

_base_ = './ride_r32_cifar100lt_30e.py'

model = dict(num_experts=6)
