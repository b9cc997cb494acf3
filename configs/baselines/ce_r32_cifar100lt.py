"""Cross-entropy, a single ResNet-32 on CIFAR-100-LT (imbalance factor 100).

The plain network with the recipe of the LDAM-DRW baseline. Published top-1 % (as quoted
by RIDE's authors): 39.1 all, 66.1 / 37.3 / 10.6 many / medium / few.

    python tools/train.py configs/baselines/ce_r32_cifar100lt.py

Measured (mean of seeds 0 and 1, last epoch, `--amp bf16 --compile`, one core) on a
near-lossless copy of CIFAR-100 whose pixels differ by about 1 of 255 from the published
files, top-1 %: 38.48 all, 65.80 / 36.67 / 8.73 many / medium / few (all: 38.10, 38.87);
`docs/results/cifar100lt.md` has the commands.
"""

_base_ = [
    '../_base_/models/plain_r32_cifar.py',
    '../_base_/datasets/cifar100_lt.py',
    '../_base_/schedules/cifar_200e.py',
    '../_base_/default_runtime.py',
]

data_preprocessor = dict(
    batch_transforms=[
        dict(type='BatchRandomCrop', crop_size=32, padding=4),
        dict(type='BatchRandomFlip', prob=0.5),
    ]
)
optim_wrapper = dict(optimizer=dict(nesterov=False, weight_decay=2e-4))
