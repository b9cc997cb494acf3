"""ImageNet-1k with the augmentation of V-MoE's recipe "light": RandAugment, 224 pixels.

`data/imagenet` holds `train/CLASS/*.JPEG` and `val` as MMPretrain expects them.
"""

dataset_type = 'ImageNet'
data_root = 'data/imagenet'

# To -1 ... 1.
data_preprocessor = dict(
    num_classes=1000, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True, to_onehot=True
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.05, 1.0),
        interpolation='bilinear',
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='TPURandAugment', num_ops=2, magnitude=10),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', interpolation='area'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='LongTailed',
        check_images='none',
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            split='train',
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='val',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = [dict(type='Accuracy', topk=(1, 5))]
test_dataloader = val_dataloader
test_evaluator = val_evaluator
