"""The teacher of distilled RIDE with ResNet-10 on ImageNet-LT: 6 experts.

Wang et al., ICLR 2021, appendix A.2; else `ride_r10_imagenetlt.py`.

    python tools/train.py configs/ride/ride_r10_imagenetlt_teacher.py
"""

_base_ = './ride_r10_imagenetlt.py'

model = dict(num_experts=6)
