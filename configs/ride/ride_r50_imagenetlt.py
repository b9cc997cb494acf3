"""RIDE with 3 experts and ResNet-50 on ImageNet-LT, stage one.

Wang et al., ICLR 2021; the authors' recipe for 8 GPUs with 32 images each,
whose batch statistics one GPU has, too (`GroupedBN`). Published top-1 %: 54.9 all,
66.2 / 51.7 / 34.9 many / medium / few.

    python tools/train.py configs/ride/ride_r50_imagenetlt.py
    bash tools/dist_train.sh configs/ride/ride_r50_imagenetlt.py 8 \
        --cfg-options train_dataloader.batch_size=32
"""

_base_ = [
    '../_base_/models/ride_r50.py',
    '../_base_/datasets/imagenet_lt.py',
    '../_base_/schedules/imagenet_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(norm_cfg=dict(type='GroupedBN', images_per_group=32)))
default_hooks = dict(reweight=dict(reweight_epoch=80))
