"""iNaturalist 2018: 437,513 training images of 8,142 species, 1,000 to 2 of each.

The augmentation, batch size and constants of the authors of RIDE. The labels of the
competition's test images are not public: as everywhere in the field, the validation
images, 3 of each species, are the test set. docs/datasets.md tells what `data/inat2018`
holds.
"""

dataset_type = 'LTListFile'
data_root = 'data/inat2018'

# Mean and standard deviation are in the order RGB.
data_preprocessor = dict(
    num_classes=8142,
    mean=[0.466 * 255, 0.471 * 255, 0.380 * 255],
    std=[0.195 * 255, 0.194 * 255, 0.192 * 255],
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
    dict(type='PackInputs'),
]
test_pipeline = [
    load_image,
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=512,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='LongTailed',
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='iNaturalist18_train.txt',
            num_classes=8142,
            # Of the published class frequencies; None accepts any.
            expected_counts='346e4680da71ca04',
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
        ann_file='iNaturalist18_val.txt',
        num_classes=8142,
        expected_counts='94a965b157f043ed',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='ShotAccuracy'), dict(type='ExpertAccuracy')]
test_evaluator = val_evaluator
