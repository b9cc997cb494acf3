"""RIDE's losses on ResNet-152: 3 experts of full width, as pre-trained ones have."""

model = dict(
    type='RIDEClassifier',
    num_experts=3,
    backbone=dict(type='RIDEResNet', depth=152, expert_width=1.0),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiExpertHead',
        num_classes=365,
        classifier='cosine',
        scale=30.0,
        loss=dict(type='LDAMLoss', max_margin=0.5, scale=30.0, reweight='deferred'),
        diversity=dict(type='DiversityLoss', factor=-0.2, class_factor=0.02),
    ),
)
