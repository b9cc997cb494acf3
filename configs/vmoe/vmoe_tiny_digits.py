"""A tiny V-MoE on scikit-learn's digits, for trying things out on a CPU.

4 experts in blocks 2 and 4 of 4, 2 for each token; `vit_tiny_digits.py` is its dense
twin of the same width.

    python tools/train.py configs/vmoe/vmoe_tiny_digits.py

Measured by `python tools/sweep.py vmoe_tiny_digits --seeds 0 1 2 --jobs 2` (last epoch,
one CPU thread), top-1 %: mean 96.89 (97.33, 97.00, 96.33), of the dense twin 97.33. On
300 test images a difference of one or two points is noise.
"""

_base_ = [
    '../_base_/models/vmoe_tiny.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/vit_digits_40e.py',
    '../_base_/default_runtime.py',
]

default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=1))
