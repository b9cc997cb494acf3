"""RIDE with 3 experts on CIFAR-10-LT (imbalance factor 100), stage one.

The recipe of `ride_r32_cifar100lt.py`, which the authors made for CIFAR-100-LT.

    python tools/train.py configs/ride/ride_r32_cifar10lt.py

Other settings, as in the literature: `--cfg-options train_dataloader.dataset.factor=50`
(10, 50, 100, 200), `train_dataloader.dataset.imbalance=step`.
"""

_base_ = [
    '../_base_/models/ride_r32_cifar.py',
    '../_base_/datasets/cifar10_lt.py',
    '../_base_/schedules/cifar_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=10))
default_hooks = dict(reweight=dict(reweight_epoch=160))
