"""RIDE with 3 experts on CIFAR-100-LT (imbalance factor 100), stage one.

Wang et al., ICLR 2021, table 5 (3 experts, no distillation); the authors' recipe.
Published top-1 %: 47.9 over all classes (table 1's 48.0 is with distillation and
routers). Five public reruns have a mean of 48.55, each the best epoch on the test set.

    python tools/train.py configs/ride/ride_r32_cifar100lt.py

Measured (mean of seeds 0, 1 and 2, last epoch, `--amp bf16 --compile` on one or two
cores of a Xeon) on a near-lossless copy of CIFAR-100 whose pixels differ by about 1 of
255 from the published files, top-1 %: 48.28 all, 66.64 / 49.62 / 25.31 many / medium /
few (all: 48.23, 48.51, 48.11). With
`model.num_experts=2`, seed 0: 46.73 all, 65.69 / 48.17 / 22.93 (published, table 5:
46.6). `docs/results/cifar100lt.md` has the commands.
"""

_base_ = [
    '../_base_/models/ride_r32_cifar.py',
    '../_base_/datasets/cifar100_lt.py',
    '../_base_/schedules/cifar_200e.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(reweight=dict(reweight_epoch=160))
