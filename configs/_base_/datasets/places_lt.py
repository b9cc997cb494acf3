"""Places-LT: 62,500 training images of 365 classes, 4,980 to 5 of each.

The lists of Liu et al. (OLTR, CVPR 2019,
https://github.com/zhmiao/OpenLongTailRecognition-OLTR) with 20 validation and 100 test
images of each class. The authors of RIDE did not use it; augmentation, batch size and
constants are those of Kang et al. (ICLR 2020,
https://github.com/facebookresearch/classifier-balancing). docs/datasets.md tells what
`data/places_lt` holds.
"""

dataset_type = 'LTListFile'
data_root = 'data/places_lt'

# Mean and standard deviation are in the order RGB.
data_preprocessor = dict(
    num_classes=365,
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
        # Of the lines of the published list, in any order; None accepts any list.
        expected_hash='210cbb7e3840b625',
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='Places_LT_train.txt',
            num_classes=365,
            # Of the published class frequencies; None accepts any.
            expected_counts='e0663b33a6ba6420',
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
        ann_file='Places_LT_val.txt',
        num_classes=365,
        expected_counts='7a9e6ee5f5d476b1',
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
        ann_file='Places_LT_test.txt',
        num_classes=365,
        expected_counts='1812fba1b5554f26',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = [dict(type='ShotAccuracy'), dict(type='ExpertAccuracy')]
test_evaluator = val_evaluator
