"""RIDE with 3 experts and ResNet-50 on iNaturalist 2018, distilled from 6.

Wang et al., ICLR 2021, appendix A.2; else stage one, `ride_r50_inat18.py`.

    python tools/train.py configs/ride/ride_r50_inat18_teacher.py
    python tools/train.py configs/ride/ride_r50_inat18_distill.py
"""

_base_ = './ride_r50_inat18.py'

model = dict(distill=dict(kd=dict(type='KDLoss', temperature=1.5, form='official')))
default_hooks = dict(
    teacher=dict(
        type='KDHook',
        config='ride_r50_inat18_teacher',
        checkpoint='work_dirs/ride_r50_inat18_teacher/epoch_100.pth',
    )
)
