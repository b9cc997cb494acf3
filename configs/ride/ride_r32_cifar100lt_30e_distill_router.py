"""Stage two of distilled RIDE on CIFAR-100-LT, after 30 epochs of teacher and student.

As `ride_r32_cifar100lt_distill_router.py`, from the shorter distillation.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_teacher.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_distill.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_distill_router.py

Measured (seed 0, last epoch, `--amp bf16`, cores of a Xeon) on a near-lossless copy of
CIFAR-100 whose pixels differ by about 1 of 255 from the published files, top-1 %: 35.80
all, 55.34 / 33.94 / 15.17 many / medium / few, with 2.48 experts on average.
`docs/results/cifar100lt.md` has the commands.
"""

_base_ = './ride_r32_cifar100lt_router.py'

load_from = 'work_dirs/ride_r32_cifar100lt_30e_distill/epoch_30.pth'
