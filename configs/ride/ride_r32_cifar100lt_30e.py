"""RIDE with 3 experts on CIFAR-100-LT in 30 epochs, for machines without a GPU.

As `ride_r32_cifar100lt.py`, but x0.01 at epochs 24 and 27, warm-up 2, re-weighting
after 24.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e.py

Measured with this command (seed 0, last epoch, one CPU thread), images augmented one by
one, which has other random draws, on a near-lossless copy of CIFAR-100 whose pixels
differ by about 1 of 255 from the published files (hence with `check_md5=False` for the
three data sets), top-1 %: 37.37 all, 58.14 / 35.80 / 14.97 many / medium / few; the
experts alone 33.44, 32.27, 32.81, disagreeing on 55 % of the test images. The same seed
on another machine, an AMD EPYC whose sums round differently
(`docs/results/cifar100lt.md`): 36.87 all, 57.03 / 35.29 / 15.20. Expect a spread of
about one point between seeds.
"""

_base_ = [
    '../_base_/models/ride_r32_cifar.py',
    '../_base_/datasets/cifar100_lt.py',
    '../_base_/schedules/cifar_30e.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(reweight=dict(reweight_epoch=24))
