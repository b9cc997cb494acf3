"""Stage two of RIDE with 3 experts on CIFAR-100-LT, after 30 epochs of stage one.

As `ride_r32_cifar100lt_router.py`, from the other stage one.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_router.py

Measured with the last command from another stage one, that of the authors' code (30
epochs, 37.56 with all experts), seeds 0, 1, 2, on a near-lossless copy of CIFAR-100:
37.27, 36.45, 37.06 all with 2.49, 2.07, 2.43 experts on average; the authors' own
router 36.97 with 2.34. By shots and against budget: docs/routing.md.
Images were augmented one by one then, which has other random draws than now.
"""

_base_ = './ride_r32_cifar100lt_router.py'

load_from = 'work_dirs/ride_r32_cifar100lt_30e/epoch_30.pth'
