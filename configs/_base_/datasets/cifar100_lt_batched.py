"""CIFAR-100-LT from memory, augmented by the batch on the model's device.

The images and the augmentation of `cifar100_lt.py`, with other random draws: a step
costs the processor almost no time for data, and no worker is needed.
"""

_base_ = './cifar100_lt.py'

data_preprocessor = dict(
    type='LTDataPreprocessor',
    batch_transforms=[
        dict(type='BatchRandomCrop', crop_size=32, padding=4),
        dict(type='BatchRandomFlip', prob=0.5),
        dict(type='BatchRandomRotation', degrees=15),
    ],
)
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type='take_batch'),
    dataset=dict(
        type='BatchedLongTailed',
        dataset=dict(pipeline=[dict(type='PackInputs')]),
    ),
)
