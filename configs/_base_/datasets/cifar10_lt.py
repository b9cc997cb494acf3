"""CIFAR-10-LT, imbalance factor 100: 12,406 training and 10,000 test images.

The rule of Cao et al. (NeurIPS 2019, https://github.com/kaidic/LDAM-DRW) on CIFAR-10;
all else as `cifar100_lt.py`. Expects the files of
https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz in `data/cifar10`, whose md5 is
checked. The log tells the hash of the subset; none is expected here.
"""

_base_ = './cifar100_lt.py'

dataset_type = 'LTCIFAR10'
data_root = 'data/cifar10'

data_preprocessor = dict(num_classes=10)
train_dataloader = dict(
    dataset=dict(
        expected_hash=None, dataset=dict(type=dataset_type, data_root=data_root)
    )
)
val_dataloader = dict(
    dataset=dict(dataset=dict(type=dataset_type, data_root=data_root))
)
test_dataloader = dict(dataset=dict(type=dataset_type, data_root=data_root))
