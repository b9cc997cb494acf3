"""RIDE with 3 experts on CIFAR-100-LT in 30 epochs, for machines without a GPU.

As `ride_r32_cifar100lt.py`, but x0.01 at epochs 24 and 27, warm-up 2, re-weighting
after 24.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e.py

Measured (mean of seeds 0 and 1, last epoch, `--amp bf16 --compile`, cores of a Xeon) on
a near-lossless copy of CIFAR-100 whose pixels differ by about 1 of 255 from the
published files, top-1 %: 36.61 all, 56.67 / 35.00 / 15.07 many / medium / few (all:
36.54, 36.67); the experts alone 32.72, 32.05, 32.70, disagreeing on 55 % of the test
images. `docs/results/cifar100lt.md` has the commands.
"""

_base_ = [
    '../_base_/models/ride_r32_cifar.py',
    '../_base_/datasets/cifar100_lt.py',
    '../_base_/schedules/cifar_30e.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(reweight=dict(reweight_epoch=24))
