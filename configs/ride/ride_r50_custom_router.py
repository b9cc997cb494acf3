"""Stage two of RIDE with 3 experts and ResNet-50 on your own images: the routers.

As `ride_r32_cifar100lt_router.py`, with the paper's settings for ResNet-50: the top 50
logits (or as many as there are classes) and PyTorch's initialization. Number of classes
and folder as in `ride_r50_custom.py`.

    python tools/train.py configs/ride/ride_r50_custom.py
    python tools/train.py configs/ride/ride_r50_custom_router.py
"""

_base_ = './ride_r50_custom.py'

load_from = 'work_dirs/ride_r50_custom/epoch_100.pth'

model = dict(head=dict(type='RouterHead', top_z=50, router_init='default'))
train_dataloader = dict(
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
