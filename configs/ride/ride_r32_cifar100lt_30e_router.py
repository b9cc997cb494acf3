"""Stage two of RIDE with 3 experts on CIFAR-100-LT, after 30 epochs of stage one.

As `ride_r32_cifar100lt_router.py`, from the other stage one.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_router.py
"""

_base_ = './ride_r32_cifar100lt_router.py'

load_from = 'work_dirs/ride_r32_cifar100lt_30e/epoch_30.pth'
