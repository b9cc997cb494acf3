"""RIDE with 3 experts and ResNet-10 on ImageNet-LT, distilled from 6.

Wang et al., ICLR 2021, appendix A.2; else stage one, `ride_r10_imagenetlt.py`.

    python tools/train.py configs/ride/ride_r10_imagenetlt_teacher.py
    python tools/train.py configs/ride/ride_r10_imagenetlt_distill.py
"""

_base_ = './ride_r10_imagenetlt.py'

model = dict(distill=dict(kd=dict(type='KDLoss', temperature=1.5, form='official')))
default_hooks = dict(
    teacher=dict(
        type='KDHook',
        config='ride_r10_imagenetlt_teacher',
        checkpoint='work_dirs/ride_r10_imagenetlt_teacher/epoch_100.pth',
    )
)
