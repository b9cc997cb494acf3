"""The teacher of distilled RIDE on CIFAR-100-LT: 6 experts, else stage one.

Wang et al., ICLR 2021, appendix A.2. Published top-1 % (model zoo, 6 experts): 50.2
all, 69.3 / 52.1 / 25.8 many / medium / few.

    python tools/train.py configs/ride/ride_r32_cifar100lt_teacher.py
"""

_base_ = './ride_r32_cifar100lt.py'

model = dict(num_experts=6)
