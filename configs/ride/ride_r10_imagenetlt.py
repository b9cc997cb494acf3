"""RIDE with 3 experts and ResNet-10 on ImageNet-LT, stage one.

As `ride_r50_imagenetlt.py`; the authors train it on 4 GPUs with 64 images each.
Published top-1 %: 45.9 all; with 2 experts 45.3, with 4 experts 46.6.

    python tools/train.py configs/ride/ride_r10_imagenetlt.py
"""

_base_ = './ride_r50_imagenetlt.py'

model = dict(backbone=dict(depth=10, norm_cfg=dict(images_per_group=64)))
