"""RIDE with 3 experts and Swin-S on ImageNet-LT, stage one.

As `ride_swint_imagenetlt.py`, with another depth, stochastic depth and weight decay.
Published top-1 %: 56.2 all, 67.0 / 53.0 / 37.5 many / medium / few. Not run yet.

    python tools/train.py configs/ride/ride_swins_imagenetlt.py
"""

_base_ = './ride_swint_imagenetlt.py'

model = dict(backbone=dict(base=dict(arch='small', drop_path_rate=0.3)))
optim_wrapper = dict(optimizer=dict(weight_decay=0.3))
