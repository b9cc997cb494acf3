"""RIDE with 3 experts on CIFAR-100-LT, distilled from 6 experts.

Wang et al., ICLR 2021, appendix A.2 and table 5; the authors' recipe, stage one with a
warm-up of 20 epochs. Published top-1 % (table 5, 3 experts): 47.9 without a teacher,
48.4 with KD; 48.5, 48.3 and 48.7 with CRD, PKT and SP added to KD.

    python tools/train.py configs/ride/ride_r32_cifar100lt_teacher.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_distill.py

PKT, SP and CRD are added with `--cfg-options model.distill.pkt.type=PKTLoss`,
`model.distill.sp.type=SPLoss`, or `model.distill.crd.type=CRDLoss
model.distill.crd.teacher_channels=288` (6 experts of 48 channels); with
`model.distill.kd=None` they teach alone.
"""

_base_ = './ride_r32_cifar100lt.py'

model = dict(distill=dict(kd=dict(type='KDLoss', temperature=1.5, form='official')))
default_hooks = dict(
    teacher=dict(
        type='KDHook',
        config='ride_r32_cifar100lt_teacher',
        checkpoint='work_dirs/ride_r32_cifar100lt_teacher/epoch_200.pth',
    )
)
# Factor (e + 1) / 20 in epoch e < 20.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=20, by_epoch=True),
    dict(type='MultiStepLR', milestones=[160, 180], gamma=0.01, by_epoch=True),
]
