"""RIDE with 3 experts and ResNeXt-50 (32x4d) on ImageNet-LT, distilled from 6.

Wang et al., ICLR 2021, appendix A.2; else stage one, `ride_rx50_imagenetlt.py`.

    python tools/train.py configs/ride/ride_rx50_imagenetlt_teacher.py
    python tools/train.py configs/ride/ride_rx50_imagenetlt_distill.py
"""

_base_ = './ride_rx50_imagenetlt.py'

model = dict(distill=dict(kd=dict(type='KDLoss', temperature=1.5, form='official')))
default_hooks = dict(
    teacher=dict(
        type='KDHook',
        config='ride_rx50_imagenetlt_teacher',
        checkpoint='work_dirs/ride_rx50_imagenetlt_teacher/epoch_100.pth',
    )
)
