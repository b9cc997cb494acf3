"""RIDE with 3 experts on all of CIFAR-100, 500 images of each class.

As `ride_r32_cifar100lt.py`. With equal counts the margins of LDAM are equal and
re-weighting changes nothing; the experts and their diversity remain.

    python tools/train.py configs/ride/ride_r32_cifar100.py
"""

_base_ = './ride_r32_cifar100lt.py'

train_dataloader = dict(
    # Of all 50,000 official images.
    dataset=dict(imbalance=None, expected_hash='33236cc6bd19fa6b'),
)
