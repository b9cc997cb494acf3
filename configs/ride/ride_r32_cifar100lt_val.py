"""`ride_r32_cifar100lt.py` with held-out images that choose the checkpoint.

One tenth of each class's training images is kept from training; the checkpoint with the
best class-mean accuracy on them is kept as `best_*.pth`. The test set is not looked at.

    python tools/train.py configs/ride/ride_r32_cifar100lt_val.py
"""

_base_ = './ride_r32_cifar100lt.py'

held_out = dict(fraction=0.1, seed=0)

train_dataloader = dict(dataset=dict(held_out=held_out, part='train'))
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='BatchedLongTailed',
        imbalance='exp',
        factor=100,
        seed=0,
        held_out=held_out,
        part='val',
        dataset=dict(
            type='LTCIFAR100',
            data_root='data/cifar100',
            split='train',
            pipeline=[dict(type='PackInputs')],
            test_mode=True,
        ),
    ),
)
default_hooks = dict(
    checkpoint=dict(save_best='shot_accuracy/class_mean', rule='greater')
)
