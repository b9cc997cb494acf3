"""The teacher of distilled RIDE with ResNeXt-50 (32x4d) on ImageNet-LT: 6 experts.

Wang et al., ICLR 2021, appendix A.2; else `ride_rx50_imagenetlt.py`. Published top-1 %
(model zoo): 57.5 all.

    python tools/train.py configs/ride/ride_rx50_imagenetlt_teacher.py
"""

_base_ = './ride_rx50_imagenetlt.py'

model = dict(num_experts=6)
