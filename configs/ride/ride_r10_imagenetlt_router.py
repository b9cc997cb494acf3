"""Stage two of RIDE with 3 experts and ResNet-10 on ImageNet-LT: the routers.

Wang et al., ICLR 2021, section 3.3; the authors' recipe.

    python tools/train.py configs/ride/ride_r10_imagenetlt.py
    python tools/train.py configs/ride/ride_r10_imagenetlt_router.py
"""

_base_ = './ride_r50_imagenetlt_router.py'

load_from = 'work_dirs/ride_r10_imagenetlt/epoch_100.pth'

model = dict(
    backbone=dict(depth=10, norm_cfg=dict(images_per_group=64)), head=dict(top_z=30)
)
