"""CIFAR-100-LT, imbalance factor 100: 10,847 training and 10,000 test images.

The subset of Cao et al. (NeurIPS 2019, https://github.com/kaidic/LDAM-DRW); other
settings by `--cfg-options train_dataloader.dataset.factor=50` and
`train_dataloader.dataset.imbalance=step`. The augmentation and CIFAR-10's channel
statistics of the authors of RIDE. Expects the files of
https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz in `data/cifar100`.

Images come from memory by the batch and are augmented on the model's device: a step
costs the processor almost no time for data, and no worker is needed. A pipeline for
single images takes its place as in `cifar100_lt_autoaugment.py`.
"""

dataset_type = 'LTCIFAR100'
data_root = 'data/cifar100'

# Mean and standard deviation are in the order RGB.
data_preprocessor = dict(
    type='LTDataPreprocessor',
    batch_transforms=[
        dict(type='BatchRandomCrop', crop_size=32, padding=4),
        dict(type='BatchRandomFlip', prob=0.5),
        dict(type='BatchRandomRotation', degrees=15),
    ],
    num_classes=100,
    mean=[0.4914 * 255, 0.4822 * 255, 0.4465 * 255],
    std=[0.2023 * 255, 0.1994 * 255, 0.2010 * 255],
    to_rgb=True,
)

# Takes any image, and leaves those of the data set as they are.
test_pipeline = [
    dict(type='ResizeEdge', scale=32, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=32),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='take_batch'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='BatchedLongTailed',
        imbalance='exp',
        factor=100,
        seed=0,
        # Of the official images under each setting; None accepts any subset.
        expected_hash={
            'exp-10': 'd0262356bfc4aa11',
            'exp-50': '8382897eace08678',
            'exp-100': '644b6d28caa663f3',
            'exp-200': '270547597b0f832b',
            'step-10': '4837b5cb8746af7a',
            'step-50': '0e51f68b588e0ba9',
            'step-100': '3105cff262e9b3af',
            'step-200': '79f77c6037e12621',
        },
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            split='train',
            pipeline=[dict(type='PackInputs')],
        ),
    ),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='take_batch'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BatchedLongTailed',
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            split='test',
            pipeline=[dict(type='PackInputs')],
            test_mode=True,
        ),
    ),
)
val_evaluator = [dict(type='ShotAccuracy'), dict(type='ExpertAccuracy')]
test_dataloader = dict(
    batch_size=500,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='test',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_evaluator = val_evaluator
