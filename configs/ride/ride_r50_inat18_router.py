"""Stage two of RIDE with 3 experts and ResNet-50 on iNaturalist 2018: the routers.

Wang et al., ICLR 2021, section 3.3; the authors' recipe. Published top-1 %
(model zoo): 71.2 all.

    python tools/train.py configs/ride/ride_r50_inat18.py
    python tools/train.py configs/ride/ride_r50_inat18_router.py
"""

_base_ = './ride_r50_inat18.py'

load_from = 'work_dirs/ride_r50_inat18/epoch_100.pth'

model = dict(head=dict(type='RouterHead', top_z=50, router_init='default'))
train_dataloader = dict(
    batch_size=512,
    sampler=dict(_delete_=True, type='LongTailedSampler', strategy='class_balanced'),
)
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=5, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=5, val_interval=1)
auto_scale_lr = dict(base_batch_size=512)
val_evaluator = [dict(type='ShotAccuracy'), dict(type='ExpertUsage')]
test_evaluator = val_evaluator
default_hooks = dict(reweight=dict(reweight_epoch=None))
