"""Stage two of RIDE with 3 experts and Swin-T on ImageNet-LT: the routers.

The authors released Swin without routers and say that they trained theirs with SGD;
the settings are those of `ride_r50_imagenetlt_router.py`. Images are not mixed, for a
router learns from hard labels. Not run yet.

    python tools/train.py configs/ride/ride_swint_imagenetlt.py
    python tools/train.py configs/ride/ride_swint_imagenetlt_router.py
"""

_base_ = './ride_swint_imagenetlt.py'

load_from = 'work_dirs/ride_swint_imagenetlt/epoch_300.pth'

model = dict(
    head=dict(type='RouterHead', top_z=50, router_init='default'), train_cfg=None
)
train_dataloader = dict(
    batch_size=512,
    sampler=dict(_delete_=True, type='LongTailedSampler', strategy='class_balanced'),
)
optim_wrapper = dict(
    _delete_=True,
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4),
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=5, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=5, val_interval=1)
auto_scale_lr = dict(base_batch_size=512)
val_evaluator = [dict(type='ShotAccuracy'), dict(type='ExpertUsage')]
test_evaluator = val_evaluator
default_hooks = dict(reweight=dict(reweight_epoch=None))
