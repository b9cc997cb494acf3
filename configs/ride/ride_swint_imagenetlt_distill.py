"""RIDE with 3 experts and Swin-T on ImageNet-LT, distilled from 6.

The authors distilled no Swin; as `ride_r50_imagenetlt_distill.py`, else
`ride_swint_imagenetlt.py`. The teacher sees the mixed images, too. Not run yet.

    python tools/train.py configs/ride/ride_swint_imagenetlt_teacher.py
    python tools/train.py configs/ride/ride_swint_imagenetlt_distill.py
"""

_base_ = './ride_swint_imagenetlt.py'

model = dict(distill=dict(kd=dict(type='KDLoss', temperature=1.5, form='official')))
default_hooks = dict(
    teacher=dict(
        type='KDHook',
        config='ride_swint_imagenetlt_teacher',
        checkpoint='work_dirs/ride_swint_imagenetlt_teacher/epoch_300.pth',
    )
)
