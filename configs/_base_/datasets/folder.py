"""Your own images: a folder per class.

Expects `data/custom/train/CLASS/*.jpg` and `data/custom/test/CLASS/*.jpg`, with the
same classes in both. The training set is taken as long-tailed as it is.
"""

dataset_type = 'CustomDataset'
data_root = 'data/custom'
# Files with other endings are passed over.
extensions = ('.jpg', '.jpeg', '.png', '.bmp', '.ppm', '.pgm', '.tif', '.tiff', '.webp')

data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='LongTailed',
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            data_prefix='train',
            with_label=True,
            extensions=extensions,
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='test',
        with_label=True,
        extensions=extensions,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = [dict(type='ShotAccuracy'), dict(type='ExpertAccuracy')]
test_dataloader = val_dataloader
test_evaluator = val_evaluator
