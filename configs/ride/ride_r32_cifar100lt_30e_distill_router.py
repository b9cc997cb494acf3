"""Stage two of distilled RIDE on CIFAR-100-LT, after 30 epochs of teacher and student.

As `ride_r32_cifar100lt_distill_router.py`, from the shorter distillation.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_teacher.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_distill.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_distill_router.py

Measured with these commands (seed 0, last epoch, one CPU thread) on a near-lossless
copy of CIFAR-100 (hence with `check_md5=False` for the three data sets), top-1 %: 37.32
all, 56.89 / 36.54 / 15.40 many / medium / few, with 2.457 experts on average.
Images were augmented one by one then, which has other random draws than now.
"""

_base_ = './ride_r32_cifar100lt_router.py'

load_from = 'work_dirs/ride_r32_cifar100lt_30e_distill/epoch_30.pth'
