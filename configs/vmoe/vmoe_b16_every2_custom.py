"""V-MoE-B/16, 8 experts in every second block, fine-tuned on your own images.

A folder per class as in `configs/_base_/datasets/folder.py`, 224 pixels, 20 epochs of
SGD as the authors fine-tune. It starts from released weights, converted, or from a
dense ViT-B/16 of MMPretrain, whose MLPs then become the experts ("sparse upcycling"):

    python tools/model_converters/vmoe_to_ride_mm.py \
        checkpoints/vmoe_b16_imagenet21k_randaug_strong work_dirs/converted/vmoe_b16.pth
    python tools/train.py configs/vmoe/vmoe_b16_every2_custom.py --cfg-options \
        model.head.num_classes=12

    python tools/train.py configs/vmoe/vmoe_b16_every2_custom.py --cfg-options \
        model.head.num_classes=12 load_from=FILE_OR_ADDRESS_OF_A_VIT \
        model.backbone.tanh_gelu=False model.backbone.moe.router.normalize=True

Not run on real images yet.
"""

_base_ = [
    '../_base_/models/vmoe.py',
    '../_base_/datasets/folder.py',
    '../_base_/schedules/vmoe_finetune_8e.py',
    '../_base_/default_runtime.py',
]

load_from = 'work_dirs/converted/vmoe_b16.pth'

model = dict(
    backbone=dict(moe=dict(router=dict(capacity_factor=1.5))),
    head=dict(loss=dict(use_sigmoid=False)),
)
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)
optim_wrapper = dict(accumulative_counts=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1, by_epoch=True),
    dict(type='CosineAnnealingLR', begin=1, end=20, eta_min=1e-5, by_epoch=True),
]
train_cfg = dict(max_epochs=20, val_interval=5)
val_evaluator = [dict(type='ShotAccuracy')]
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=64)
