"""Stage two of RIDE with 3 experts and Swin-S on ImageNet-LT: the routers.

As `ride_swint_imagenetlt_router.py`. Not run yet.

    python tools/train.py configs/ride/ride_swins_imagenetlt.py
    python tools/train.py configs/ride/ride_swins_imagenetlt_router.py
"""

_base_ = './ride_swint_imagenetlt_router.py'

load_from = 'work_dirs/ride_swins_imagenetlt/epoch_300.pth'

model = dict(backbone=dict(base=dict(arch='small', drop_path_rate=0.3)))
