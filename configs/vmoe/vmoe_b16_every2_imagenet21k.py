"""V-MoE-B/16, 8 experts in every second block, on ImageNet-21k.

The authors' released model "vmoe_b16_imagenet21k_randaug_strong" (Riquelme et al.,
NeurIPS 2021; https://github.com/google-research/vmoe, its configuration), 300 epochs of
4,096 images a step. The authors give no accuracy on ImageNet-21k.

Departures: one image in a hundred of each class is held out, theirs are the first
102,400. The warm-up of 10,000 steps is 3 epochs. Theirs has 21,843 classes, which the
released weights need; a copy of the data with another number takes
`model.head.num_classes` and `data_preprocessor.num_classes`.

    python tools/train.py configs/vmoe/vmoe_b16_every2_imagenet21k.py
    bash tools/dist_train.sh configs/vmoe/vmoe_b16_every2_imagenet21k.py 8 \
        --cfg-options optim_wrapper.accumulative_counts=8

Not run yet.
"""

_base_ = [
    '../_base_/models/vmoe.py',
    '../_base_/datasets/imagenet21k_vmoe.py',
    '../_base_/schedules/vmoe_adam_300e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    head=dict(
        num_classes=21843,
        init_cfg=dict(bias=-10.0),
    ),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.5)),
)
optim_wrapper = dict(optimizer=dict(lr=8e-4), accumulative_counts=64)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        by_epoch=True,
        begin=0,
        end=3,
        convert_to_iter_based=True,
    ),
    dict(
        type='PolyLR',
        power=1.0,
        eta_min=1e-5,
        by_epoch=True,
        begin=3,
        end=300,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=4096)
