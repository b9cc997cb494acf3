r"""Stage two of `ride_r32_cifar100lt_val.py`, whose held-out images choose the budget.

One tenth of each class's training images is kept from both stages; `route_budget.py`
sets the thresholds on it, so that the test images choose nothing.

    python tools/train.py configs/ride/ride_r32_cifar100lt_val.py
    python tools/train.py configs/ride/ride_r32_cifar100lt_val_router.py
    python tools/analysis_tools/route_budget.py ride_r32_cifar100lt_val_router \
        work_dirs/ride_r32_cifar100lt_val_router/epoch_5.pth --data val \
        --mean-experts 1.5 --out-checkpoint routed_val.pth
"""

_base_ = './ride_r32_cifar100lt_router.py'

load_from = 'work_dirs/ride_r32_cifar100lt_val/epoch_200.pth'

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
