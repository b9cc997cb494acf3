"""RIDE with 2 experts and Swin-S on ImageNet-LT, stage one.

As `ride_swins_imagenetlt.py`, with the weight decay of Swin-T. Published top-1 %: 56.3
all, 67.4 / 52.9 / 37.0 many / medium / few. Not run yet.

    python tools/train.py configs/ride/ride_swins_imagenetlt_2e.py
"""

_base_ = './ride_swins_imagenetlt.py'

model = dict(num_experts=2, head=dict(diversity=dict(factor=-0.1)))
optim_wrapper = dict(optimizer=dict(weight_decay=0.2))
