"""RIDE with 3 experts and ResNeXt-50 (32x4d) on ImageNet-LT, stage one.

As `ride_r50_imagenetlt.py`. Wang et al., ICLR 2021. Published top-1 %: 56.4
all, 67.6 / 53.5 / 35.9 many / medium / few.

    python tools/train.py configs/ride/ride_rx50_imagenetlt.py
"""

_base_ = './ride_r50_imagenetlt.py'

model = dict(backbone=dict(groups=32, width_per_group=4))
