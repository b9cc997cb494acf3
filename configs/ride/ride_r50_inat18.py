"""RIDE with 3 experts and ResNet-50 on iNaturalist 2018, stage one.

Wang et al., ICLR 2021; the authors' recipe for 8 GPUs with 64 images each,
whose batch statistics one GPU has, too (`GroupedBN`). Published top-1 %: 72.2 all.

    python tools/train.py configs/ride/ride_r50_inat18.py
    bash tools/dist_train.sh configs/ride/ride_r50_inat18.py 8 \
        --cfg-options train_dataloader.batch_size=64
"""

_base_ = [
    '../_base_/models/ride_r50.py',
    '../_base_/datasets/inat2018.py',
    '../_base_/schedules/imagenet_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(norm_cfg=dict(type='GroupedBN', images_per_group=64)),
    head=dict(num_classes=8142, diversity=dict(class_factor=0.015)),
)
optim_wrapper = dict(optimizer=dict(lr=0.2))
auto_scale_lr = dict(base_batch_size=512)
default_hooks = dict(reweight=dict(reweight_epoch=80))
