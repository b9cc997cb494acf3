"""RIDE-Swin's Swin-T: 3 experts of 3/4 width, LDAM and diversity losses, Mixup, CutMix.

The authors divide the diversity loss by the number of experts: -0.2 / 3.
"""

model = dict(
    type='RIDEClassifier',
    num_experts=3,
    backbone=dict(
        type='MultiExpertBackbone',
        base=dict(
            type='SwinTransformer', arch='tiny', img_size=224, drop_path_rate=0.2
        ),
        shared_stages=2,
        expert_width=0.75,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiExpertHead',
        num_classes=1000,
        classifier='cosine',
        scale=30.0,
        loss=dict(type='LDAMLoss', max_margin=0.5, scale=30.0, reweight='deferred'),
        diversity=dict(type='DiversityLoss', factor=-0.2 / 3, class_factor=0.02),
    ),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    ),
)
