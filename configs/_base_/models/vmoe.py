"""V-MoE-B/16: 8 experts in every second block, 2 for each token, as released."""

model = dict(
    type='VMoEClassifier',
    backbone=dict(
        type='VMoE',
        arch='b',
        img_size=224,
        patch_size=16,
        moe=dict(
            blocks='every-2',
            num_experts=8,
            images_per_group=8,
            drop_rate=0.0,
            router=dict(
                type='NoisyTopKRouter',
                num_selected=2,
                capacity_factor=1.05,
                noise_std=1.0,
                importance_weight=0.005,
                load_weight=0.005,
            ),
        ),
    ),
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=1000,
        in_channels=768,
        # -log(1000): all classes start equally likely.
        init_cfg=dict(type='Constant', layer='Linear', val=0.0, bias=-6.907755),
        # Summed over classes, as if each were a question of its own.
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
    ),
)
