"""The plain ResNet-32 of the CIFAR baselines: one expert of full width."""

model = dict(
    type='RIDEClassifier',
    num_experts=1,
    backbone=dict(type='RIDEResNetCIFAR', depth=32, expert_width=1.0),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiExpertHead',
        num_classes=100,
        classifier='linear',
        loss=dict(type='CrossEntropyLoss'),
        init_cfg=dict(type='Kaiming', layer='Linear', mode='fan_in'),
    ),
)
