"""RIDE with 3 experts and ResNet-152 on Places-LT, distilled from 6.

Wang et al., ICLR 2021, appendix A.2; else stage one, `ride_r152_placeslt.py`. Not run
yet.

    python tools/train.py configs/ride/ride_r152_placeslt_teacher.py
    python tools/train.py configs/ride/ride_r152_placeslt_distill.py
"""

_base_ = './ride_r152_placeslt.py'

model = dict(distill=dict(kd=dict(type='KDLoss', temperature=1.5, form='official')))
default_hooks = dict(
    teacher=dict(
        type='KDHook',
        config='ride_r152_placeslt_teacher',
        checkpoint='work_dirs/ride_r152_placeslt_teacher/epoch_30.pth',
    )
)
