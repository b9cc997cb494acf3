"""RIDE's ResNet-32: 3 experts of 3/4 width, LDAM and diversity losses."""

model = dict(
    type='RIDEClassifier',
    num_experts=3,
    backbone=dict(type='RIDEResNetCIFAR', depth=32, expert_width=0.75),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiExpertHead',
        num_classes=100,
        classifier='cosine',
        scale=30.0,
        loss=dict(type='LDAMLoss', max_margin=0.5, scale=30.0, reweight='deferred'),
        diversity=dict(type='DiversityLoss', factor=-0.45, class_factor=0.05),
    ),
)
