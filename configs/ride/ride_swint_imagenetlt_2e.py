"""RIDE with 2 experts and Swin-T on ImageNet-LT, stage one.

As `ride_swint_imagenetlt.py`. Published top-1 %: 53.6 all, 65.0 / 50.0 / 34.2 many /
medium / few. Not run yet.

    python tools/train.py configs/ride/ride_swint_imagenetlt_2e.py
"""

_base_ = './ride_swint_imagenetlt.py'

model = dict(num_experts=2, head=dict(diversity=dict(factor=-0.1)))
