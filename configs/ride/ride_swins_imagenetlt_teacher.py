"""The teacher of distilled RIDE with Swin-S on ImageNet-LT: 6 experts.

The authors distilled no Swin; as `ride_r50_imagenetlt_teacher.py`, else
`ride_swins_imagenetlt.py`. Not run yet.

    python tools/train.py configs/ride/ride_swins_imagenetlt_teacher.py
"""

_base_ = './ride_swins_imagenetlt.py'

model = dict(num_experts=6, head=dict(diversity=dict(factor=-0.2 / 6)))
