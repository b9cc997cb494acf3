"""ImageNet-21k with the augmentation of V-MoE's recipe "strong": RandAugment, 224.

`data/imagenet21k/train` holds a folder per class. One image in a hundred of each class
is kept for validation.
"""

_base_ = './imagenet_vmoe.py'

dataset_type = 'CustomDataset'
data_root = 'data/imagenet21k'
held_out = dict(fraction=0.01, seed=0)

data_preprocessor = dict(num_classes=21843)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.05, 1.0),
        interpolation='bilinear',
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='TPURandAugment', num_ops=2, magnitude=20),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        held_out=held_out,
        part='train',
        dataset=dict(
            _delete_=True,
            type=dataset_type,
            data_root=data_root,
            data_prefix='train',
            with_label=True,
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=64,
    dataset=dict(
        _delete_=True,
        type='LongTailed',
        check_images='none',
        held_out=held_out,
        part='val',
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            data_prefix='train',
            with_label=True,
            pipeline=_base_.test_pipeline,
            test_mode=True,
        ),
    ),
)
test_dataloader = val_dataloader
