"""RIDE with 3 experts on CIFAR-100-LT in 30 epochs, for machines without a GPU.

As `ride_r32_cifar100lt.py`, but x0.01 at epochs 24 and 27, warm-up 2, re-weighting
after 24.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e.py
"""

_base_ = [
    '../_base_/models/ride_r32_cifar.py',
    '../_base_/datasets/cifar100_lt.py',
    '../_base_/schedules/cifar_30e.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(reweight=dict(reweight_epoch=24))
