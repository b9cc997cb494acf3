"""RIDE with 3 experts on CIFAR-100-LT as one would train it today.

The losses of `ride_r32_cifar100lt.py` with AutoAugment, Cutout, Mixup, 400 epochs and a
moving average of the weights. Schedule, AutoAugment and Mixup (alpha 0.4) are those of
BalPoE's long training (Aimar et al., CVPR 2023,
https://github.com/emasa/BalPoE-CalibratedLT), which has other losses; Cutout and the
moving average are ours. docs/training.md tells what each part does.

    python tools/train.py configs/ride/ride_r32_cifar100lt_modern.py

Not run in full yet. Nobody has published RIDE with these, to our knowledge.
"""

_base_ = [
    '../_base_/models/ride_r32_cifar.py',
    '../_base_/datasets/cifar100_lt_autoaugment.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/default_runtime.py',
]

model = dict(train_cfg=dict(augments=dict(type='Mixup', alpha=0.4)))
default_hooks = dict(reweight=dict(reweight_epoch=320))
# About the last 12 epochs; a shorter training needs a shorter memory.
custom_hooks = [dict(type='LTEMAHook', momentum=0.001)]
