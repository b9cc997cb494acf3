"""The teacher of distilled RIDE with ResNet-152 on Places-LT: 6 experts.

Wang et al., ICLR 2021, appendix A.2; else `ride_r152_placeslt.py`. Not run yet.

    python tools/train.py configs/ride/ride_r152_placeslt_teacher.py
"""

_base_ = './ride_r152_placeslt.py'

model = dict(num_experts=6)
