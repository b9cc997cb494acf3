"""RIDE with 3 experts and a pre-trained ResNet-152 on Places-LT, stage one.

The authors of RIDE did not use Places-LT; the recipe is that of a follow-up, SADE
(Zhang et al., NeurIPS 2022, https://github.com/Vanint/SADE-AgnosticLT), with RIDE's
losses: experts of full width, batches of 128 on 4 GPUs, whose batch statistics one GPU
has, too (`GroupedBN`); all layers learn, those of the backbone at 0.1 of the rate.
Theirs starts from Caffe's ResNet-152 for ImageNet, ours from MMPretrain's. RIDE's
settings (DRW from epoch 21 on, diversity as on ImageNet-LT) are ours. SADE's README
has a top-1 of 40.3 % for RIDE.

    python tools/train.py configs/ride/ride_r152_placeslt.py
    bash tools/dist_train.sh configs/ride/ride_r152_placeslt.py 4 \
        --cfg-options train_dataloader.batch_size=32

Not run yet. The first run downloads the weights (about 240 MB); with a file of them
`--cfg-options load_from=FILE`.
"""

_base_ = [
    '../_base_/models/ride_r152.py',
    '../_base_/datasets/places_lt.py',
    '../_base_/schedules/places_30e.py',
    '../_base_/default_runtime.py',
]

load_from = (
    'https://download.openmmlab.com/mmclassification/v0/resnet/'
    'resnet152_8xb32_in1k_20210901-4d7582fa.pth'
)

model = dict(backbone=dict(norm_cfg=dict(type='GroupedBN', images_per_group=32)))
train_dataloader = dict(batch_size=128)
default_hooks = dict(reweight=dict(reweight_epoch=20))
