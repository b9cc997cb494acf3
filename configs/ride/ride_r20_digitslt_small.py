"""RIDE with 3 experts of half width and ResNet-20 on digits-LT, stage one.

As `ride_r20_digitslt.py`, with 0.21 million parameters: the experts of the model that
comes with the package.

    python tools/train.py configs/ride/ride_r20_digitslt_small.py
"""

_base_ = './ride_r20_digitslt.py'

model = dict(backbone=dict(expert_width=0.5))
