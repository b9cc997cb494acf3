"""RIDE with 3 experts on CIFAR-100-LT, data from memory and by the batch.

As `ride_r32_cifar100lt.py`, with the same augmentation, drawn by the batch on the
model's device; on a GPU it is the one to take.

    python tools/train.py configs/ride/ride_r32_cifar100lt_batched.py
"""

_base_ = [
    '../_base_/models/ride_r32_cifar.py',
    '../_base_/datasets/cifar100_lt_batched.py',
    '../_base_/schedules/cifar_200e.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(reweight=dict(reweight_epoch=160))
