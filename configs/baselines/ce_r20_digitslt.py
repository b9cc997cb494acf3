"""Cross-entropy, a single ResNet-20 on digits-LT: the quickstart's plain network.

python tools/train.py configs/baselines/ce_r20_digitslt.py
"""

_base_ = [
    '../_base_/models/plain_r32_cifar.py',
    '../_base_/datasets/digits_lt.py',
    '../_base_/schedules/digits_40e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(depth=20), head=dict(num_classes=10))
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=1))
