"""Stage two of RIDE on digits-LT: the routers of the quickstart's model.

As `ride_r32_cifar100lt_router.py`, in 10 epochs of smaller batches, for there are 399
training images only.

    python tools/train.py configs/ride/ride_r20_digitslt.py
    python tools/train.py configs/ride/ride_r20_digitslt_router.py
"""

_base_ = './ride_r20_digitslt.py'

load_from = 'work_dirs/ride_r20_digitslt/epoch_40.pth'

model = dict(head=dict(type='RouterHead', top_z=10, pos_weight=100.0))
train_dataloader = dict(
    batch_size=64,
    sampler=dict(_delete_=True, type='LongTailedSampler', strategy='class_balanced'),
)
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=10, eta_min=0.0, by_epoch=True)]
train_cfg = dict(max_epochs=10, val_interval=5)
auto_scale_lr = dict(base_batch_size=64)
val_evaluator = [dict(type='ShotAccuracy'), dict(type='ExpertUsage')]
test_evaluator = val_evaluator
default_hooks = dict(reweight=dict(reweight_epoch=None))
