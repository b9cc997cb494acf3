"""CIFAR-100-LT with AutoAugment and Cutout in place of the rotation.

AutoAugment's policy for CIFAR-10 (Cubuk et al., CVPR 2019, appendix), which the field
takes for CIFAR-100, too: one of 25 pairs of operations, each with a probability.
Magnitude k of 9 is a shear of 0.3 k/9, a shift by 150/331 k/9 of the image, a rotation
by 30 k/9 degrees, a factor of 1 +- 0.1 k, 8 - 4 k/9 bits (rounded), and a solarization
from 256 (1 - k/9) on; signs are random, what is uncovered is grey. Cutout's square of
16 pixels is that of DeVries and Taylor (2017) for CIFAR-10.
"""

_base_ = './cifar100_lt.py'

autoaugment_cifar10 = [
    [
        dict(type='Invert', prob=0.1),
        dict(type='Contrast', magnitude=0.6, prob=0.2),
    ],
    [
        dict(type='Rotate', angle=30 / 9 * 2, prob=0.7),
        dict(type='Translate', magnitude=150 / 331, prob=0.3),
    ],
    [
        dict(type='Sharpness', magnitude=0.1, prob=0.8),
        dict(type='Sharpness', magnitude=0.3, prob=0.9),
    ],
    [
        dict(type='Shear', magnitude=0.3 / 9 * 8, prob=0.5, direction='vertical'),
        dict(type='Translate', magnitude=150 / 331, prob=0.7, direction='vertical'),
    ],
    [
        dict(type='AutoContrast', prob=0.5),
        dict(type='Equalize', prob=0.9),
    ],
    [
        dict(type='Shear', magnitude=0.3 / 9 * 7, prob=0.2, direction='vertical'),
        dict(type='Posterize', bits=5, prob=0.3),
    ],
    [
        dict(type='ColorTransform', magnitude=0.3, prob=0.4),
        dict(type='Brightness', magnitude=0.7, prob=0.6),
    ],
    [
        dict(type='Sharpness', magnitude=0.9, prob=0.3),
        dict(type='Brightness', magnitude=0.9, prob=0.7),
    ],
    [
        dict(type='Equalize', prob=0.6),
        dict(type='Equalize', prob=0.5),
    ],
    [
        dict(type='Contrast', magnitude=0.7, prob=0.6),
        dict(type='Sharpness', magnitude=0.5, prob=0.6),
    ],
    [
        dict(type='ColorTransform', magnitude=0.7, prob=0.7),
        dict(type='Translate', magnitude=150 / 331 / 9 * 8, prob=0.5),
    ],
    [
        dict(type='Equalize', prob=0.3),
        dict(type='AutoContrast', prob=0.4),
    ],
    [
        dict(
            type='Translate',
            magnitude=150 / 331 / 9 * 3,
            prob=0.4,
            direction='vertical',
        ),
        dict(type='Sharpness', magnitude=0.6, prob=0.2),
    ],
    [
        dict(type='Brightness', magnitude=0.6, prob=0.9),
        dict(type='ColorTransform', magnitude=0.8, prob=0.2),
    ],
    [
        dict(type='Solarize', thr=256 / 9 * 7, prob=0.5),
        dict(type='Invert', prob=0.0),
    ],
    [
        dict(type='Equalize', prob=0.2),
        dict(type='AutoContrast', prob=0.6),
    ],
    [
        dict(type='Equalize', prob=0.2),
        dict(type='Equalize', prob=0.6),
    ],
    [
        dict(type='ColorTransform', magnitude=0.9, prob=0.9),
        dict(type='Equalize', prob=0.6),
    ],
    [
        dict(type='AutoContrast', prob=0.8),
        dict(type='Solarize', thr=256 / 9, prob=0.2),
    ],
    [
        dict(type='Brightness', magnitude=0.3, prob=0.1),
        dict(type='ColorTransform', magnitude=0.0, prob=0.7),
    ],
    [
        dict(type='Solarize', thr=256 / 9 * 4, prob=0.4),
        dict(type='AutoContrast', prob=0.9),
    ],
    [
        dict(type='Translate', magnitude=150 / 331, prob=0.9, direction='vertical'),
        dict(type='Translate', magnitude=150 / 331, prob=0.7, direction='vertical'),
    ],
    [
        dict(type='AutoContrast', prob=0.9),
        dict(type='Solarize', thr=256 / 9 * 6, prob=0.8),
    ],
    [
        dict(type='Equalize', prob=0.8),
        dict(type='Invert', prob=0.1),
    ],
    [
        dict(type='Translate', magnitude=150 / 331, prob=0.7, direction='vertical'),
        dict(type='AutoContrast', prob=0.9),
    ],
]

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='AutoAugment', policies=autoaugment_cifar10),
    dict(type='Cutout', shape=16, pad_val=128, prob=1.0),
    dict(type='PackInputs'),
]

# Image by image, in workers.
data_preprocessor = dict(batch_transforms=[])
train_dataloader = dict(
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='LongTailed', dataset=dict(pipeline=train_pipeline)),
)
