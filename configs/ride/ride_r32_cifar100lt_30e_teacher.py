"""The teacher of distilled RIDE on CIFAR-100-LT in 30 epochs.

As `ride_r32_cifar100lt_teacher.py`, on the schedule for machines without a GPU.

    python tools/train.py configs/ride/ride_r32_cifar100lt_30e_teacher.py

Measured (seed 0, last epoch, `--amp bf16 --compile`, cores of a Xeon) on a
near-lossless copy of CIFAR-100 whose pixels differ by about 1 of 255 from the published
files, top-1 %: 38.23 all, 58.29 / 35.94 / 17.50 many / medium / few; the experts alone
31.28 to 34.20. `docs/results/cifar100lt.md` has the commands.
"""

_base_ = './ride_r32_cifar100lt_30e.py'

model = dict(num_experts=6)
