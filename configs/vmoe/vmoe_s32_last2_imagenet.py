"""V-MoE-S/32, 8 experts in blocks 6 and 8 of 8, on ImageNet-1k from scratch.

The authors' released model "vmoe_s32_last2_ilsvrc2012_randaug_light1" (Riquelme et al.,
NeurIPS 2021; https://github.com/google-research/vmoe, its configuration). Published
top-1 % on the validation set, mean of three seeds: 73.1.

Departures: all of the training images are trained on, theirs are 99 % of them. Mixup
mixes with a random image, not with the next one of the device.

    python tools/train.py configs/vmoe/vmoe_s32_last2_imagenet.py
    bash tools/dist_train.sh configs/vmoe/vmoe_s32_last2_imagenet.py 8 \
        --cfg-options optim_wrapper.accumulative_counts=8

Not run yet.
"""

_base_ = [
    '../_base_/models/vmoe.py',
    '../_base_/datasets/imagenet_vmoe.py',
    '../_base_/schedules/vmoe_adam_300e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        arch='s',
        patch_size=32,
        moe=dict(blocks='last-2', drop_rate=0.2, router=dict(eval_capacity_factor=4.0)),
    ),
    head=dict(in_channels=512, hidden_dim=512),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.2)),
)
