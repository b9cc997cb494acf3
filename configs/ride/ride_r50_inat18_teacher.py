"""The teacher of distilled RIDE with ResNet-50 on iNaturalist 2018: 6 experts.

Wang et al., ICLR 2021, appendix A.2; else `ride_r50_inat18.py`. Published top-1 %
(model zoo): 72.8 all.

    python tools/train.py configs/ride/ride_r50_inat18_teacher.py
"""

_base_ = './ride_r50_inat18.py'

model = dict(num_experts=6)
