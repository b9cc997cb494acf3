"""Stage two of RIDE with 3 experts and ResNeXt-50 (32x4d) on ImageNet-LT: the routers.

Wang et al., ICLR 2021, section 3.3; the authors' recipe. Published top-1 %
(model zoo): 55.7 all.

    python tools/train.py configs/ride/ride_rx50_imagenetlt.py
    python tools/train.py configs/ride/ride_rx50_imagenetlt_router.py
"""

_base_ = './ride_r50_imagenetlt_router.py'

load_from = 'work_dirs/ride_rx50_imagenetlt/epoch_100.pth'

model = dict(backbone=dict(groups=32, width_per_group=4))
