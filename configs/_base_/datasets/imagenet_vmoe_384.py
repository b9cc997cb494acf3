"""ImageNet-1k for fine-tuning V-MoE: 384 pixels, crop and flip only.

As `imagenet_vmoe.py`; for testing, the whole image becomes a square.
"""

_base_ = './imagenet_vmoe.py'

data_preprocessor = dict(to_onehot=False)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=384,
        crop_ratio_range=(0.05, 1.0),
        interpolation='bilinear',
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(384, 384), interpolation='bilinear'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32, dataset=dict(dataset=dict(pipeline=train_pipeline))
)
val_dataloader = dict(batch_size=32, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=32, dataset=dict(pipeline=test_pipeline))
