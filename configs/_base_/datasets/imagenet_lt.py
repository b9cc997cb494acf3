"""ImageNet-LT: 115,846 training images of 1,000 classes, 1,280 to 5 of each.

The lists of Liu et al. (OLTR, CVPR 2019,
https://github.com/zhmiao/OpenLongTailRecognition-OLTR) with 20 validation and 50 test
images of each class; the augmentation, batch size and constants of the authors of RIDE.
docs/datasets.md tells what `data/imagenet_lt` holds.
"""

dataset_type = 'LTImageNet'
data_root = 'data/imagenet_lt'

# Mean and standard deviation are in the order RGB.
data_preprocessor = dict(
    num_classes=1000,
    mean=[0.485 * 255, 0.456 * 255, 0.406 * 255],
    std=[0.229 * 255, 0.224 * 255, 0.225 * 255],
    to_rgb=True,
)

# Decoded and resized by Pillow as by the authors, who do not turn images as their EXIF
# entry says.
load_image = dict(
    type='LoadImageFromFile',
    color_type='color_ignore_orientation',
    imdecode_backend='pillow',
)
train_pipeline = [
    load_image,
    dict(type='RandomResizedCrop', scale=224, backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0),
    dict(type='PackInputs'),
]
test_pipeline = [
    load_image,
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='LongTailed',
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='ImageNet_LT_train.txt',
            # Of the published class frequencies; None accepts any.
            expected_counts='3d8c615a8d2def22',
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ImageNet_LT_val.txt',
        expected_counts='dd445d95e5ecca54',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ImageNet_LT_test.txt',
        expected_counts='1e1224da712cfaa2',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = [dict(type='ShotAccuracy'), dict(type='ExpertAccuracy')]
test_evaluator = val_evaluator
