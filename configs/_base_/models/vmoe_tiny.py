"""A tiny V-MoE for 16 x 16 images: 4 experts in blocks 2 and 4, 2 for each token."""

model = dict(
    type='VMoEClassifier',
    backbone=dict(
        type='VMoE',
        arch=dict(embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=128),
        img_size=16,
        patch_size=4,
        pool='gap',
        moe=dict(
            blocks='every-2',
            num_experts=4,
            images_per_group=8,
            drop_rate=0.1,
            router=dict(
                type='NoisyTopKRouter',
                num_selected=2,
                capacity_factor=1.5,
                noise_std=1.0,
                importance_weight=0.005,
                load_weight=0.005,
            ),
        ),
    ),
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=10,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss'),
    ),
)
