"""RIDE with 3 experts and ResNet-20 on digits-LT, stage one: the quickstart's model.

python tools/train.py configs/ride/ride_r20_digitslt.py
"""

_base_ = [
    '../_base_/models/ride_r32_cifar.py',
    '../_base_/datasets/digits_lt.py',
    '../_base_/schedules/digits_40e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(depth=20), head=dict(num_classes=10))
default_hooks = dict(
    reweight=dict(reweight_epoch=28),
    logger=dict(interval=5),
    checkpoint=dict(interval=1),
)
