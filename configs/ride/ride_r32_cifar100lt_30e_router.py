"""Stage two of RIDE with 3 experts on CIFAR-100-LT, after 30 epochs of stage one.

As `ride_r32_cifar100lt_router.py`, from the other stage one.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_router.py

Measured on stage one's 36.54 with all experts (seed 0, last epoch, `--amp bf16`, cores
of a Xeon, images of a near-lossless copy), top-1 %: 36.30 all, 56.46 / 34.94 / 14.37
many / medium / few, with 2.41 experts on average. By shots and against budget:
`docs/routing.md`.
"""

_base_ = './ride_r32_cifar100lt_router.py'

load_from = 'work_dirs/ride_r32_cifar100lt_30e/epoch_30.pth'
