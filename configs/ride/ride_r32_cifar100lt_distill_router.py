"""Stage two of distilled RIDE with 3 experts on CIFAR-100-LT: the routers.

As `ride_r32_cifar100lt_router.py`, from the distilled experts. Published top-1 % (model
zoo, 3 experts, distilled, with routers): 49.0 all, 67.6 / 50.9 / 25.2 many / medium /
few.

    python tools/train.py configs/ride/ride_r32_cifar100lt_teacher.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_distill.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_distill_router.py
"""

_base_ = './ride_r32_cifar100lt_router.py'

load_from = 'work_dirs/ride_r32_cifar100lt_distill/epoch_200.pth'
