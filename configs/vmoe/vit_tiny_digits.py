"""The dense twin of `vmoe_tiny_digits.py`: no experts, all else the same.

    python tools/train.py configs/vmoe/vit_tiny_digits.py

Measured by `python tools/sweep.py vit_tiny_digits --seeds 0 1 2 --jobs 2` (last epoch,
one CPU thread), top-1 %: mean 97.33 (98.00, 97.00, 97.00).
"""

_base_ = './vmoe_tiny_digits.py'

model = dict(backbone=dict(moe=None))
