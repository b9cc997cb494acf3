"""V-MoE under RIDE's losses on digits-LT: three diverse experts, sparse inside.

Blocks 1 and 2 of the tiny V-MoE are shared; each of RIDE's three experts has blocks 3
and 4 of its own, with a router and 4 experts of V-MoE in the last. LDAM, deferred
re-weighting and the diversity loss as in `configs/ride/ride_r20_digitslt.py`; the
routers' losses are added. RIDE's own routers would need `images_per_group=1`
(docs/routing.md).

    python tools/train.py configs/vmoe/vmoe_tiny_digitslt.py
"""

_base_ = [
    '../_base_/models/ride_r32_cifar.py',
    '../_base_/datasets/digits_lt.py',
    '../_base_/schedules/vit_digits_40e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='MultiExpertBackbone',
        base=dict(
            type='VMoE',
            arch=dict(
                embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=128
            ),
            img_size=16,
            patch_size=4,
            pool='gap',
            moe=dict(
                blocks='every-2',
                num_experts=4,
                images_per_group=8,
                drop_rate=0.1,
                router=dict(num_selected=2, capacity_factor=1.5),
            ),
        ),
        shared_stages=2,
    ),
    neck=None,
    head=dict(num_classes=10),
)
default_hooks = dict(
    reweight=dict(reweight_epoch=28),
    logger=dict(interval=5),
    checkpoint=dict(interval=1),
)
