"""The teacher of distilled RIDE with Swin-T on ImageNet-LT: 6 experts.

The authors distilled no Swin; as `ride_r50_imagenetlt_teacher.py`, else
`ride_swint_imagenetlt.py`. Not run yet.

    python tools/train.py configs/ride/ride_swint_imagenetlt_teacher.py
"""

_base_ = './ride_swint_imagenetlt.py'

model = dict(num_experts=6, head=dict(diversity=dict(factor=-0.2 / 6)))
