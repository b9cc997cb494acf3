"""Stage two of RIDE with 3 experts and ResNet-152 on Places-LT: the routers.

Wang et al., ICLR 2021, section 3.3; the settings are those of ImageNet-LT. Not run yet.

    python tools/train.py configs/ride/ride_r152_placeslt.py
    python tools/train.py configs/ride/ride_r152_placeslt_router.py
"""

_base_ = './ride_r152_placeslt.py'

load_from = 'work_dirs/ride_r152_placeslt/epoch_30.pth'

model = dict(head=dict(type='RouterHead', top_z=50, router_init='default'))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='LongTailedSampler', strategy='class_balanced'),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.01, weight_decay=5e-4), paramwise_cfg=dict(_delete_=True)
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=5, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=5, val_interval=1)
val_evaluator = [dict(type='ShotAccuracy'), dict(type='ExpertUsage')]
test_evaluator = val_evaluator
default_hooks = dict(reweight=dict(reweight_epoch=None))
