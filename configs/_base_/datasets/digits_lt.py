"""digits-LT: scikit-learn's 1,797 handwritten digits, made long-tailed.

30 test images of each class; of the rest 144 down to 2 training images (imbalance
factor 50), so that many-, medium- and few-shot classes all exist. Nothing is
downloaded.
"""

dataset_type = 'Digits'

# Grey images in three equal channels; the order matters for other images only.
data_preprocessor = dict(
    num_classes=10,
    mean=[78.9, 78.9, 78.9],
    std=[81.7, 81.7, 81.7],
    to_rgb=True,
)

train_pipeline = [
    dict(type='RandomCrop', crop_size=16, padding=2),
    dict(type='LTRandomRotation', degrees=15),
    dict(type='PackInputs'),
]
# Leaves the images of the data set as they are.
test_pipeline = [
    dict(type='ResizeEdge', scale=16, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=16),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='LongTailed',
        imbalance='exp',
        factor=50,
        n_max=144,
        seed=0,
        dataset=dict(type=dataset_type, split='train', pipeline=train_pipeline),
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type, split='test', pipeline=test_pipeline, test_mode=True
    ),
)
val_evaluator = [dict(type='ShotAccuracy'), dict(type='ExpertAccuracy')]
test_dataloader = val_dataloader
test_evaluator = val_evaluator
