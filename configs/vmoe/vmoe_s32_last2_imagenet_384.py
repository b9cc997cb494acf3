"""V-MoE-S/32, 8 experts in blocks 6 and 8 of 8, fine-tuned at 384 pixels.

The authors' released model "vmoe_s32_last2_ilsvrc2012_randaug_light1_ft_ilsvrc2012",
from `vmoe_s32_last2_imagenet.py` or the released weights that it stands for. Published
top-1 % on the validation set, mean of three seeds: 75.9. All of the training images are
trained on, theirs are 99 % of them.

    python tools/train.py configs/vmoe/vmoe_s32_last2_imagenet_384.py

Not run yet.
"""

_base_ = './vmoe_b16_every2_imagenet_384.py'

load_from = 'work_dirs/vmoe_s32_last2_imagenet/epoch_300.pth'

model = dict(
    backbone=dict(arch='s', patch_size=32, moe=dict(blocks='last-2')),
    head=dict(in_channels=512),
)
