"""V-MoE-B/16, 8 experts in every second block, fine-tuned at 384 pixels.

The authors' released model "vmoe_b16_imagenet21k_randaug_strong_ft_ilsvrc2012", from
`vmoe_b16_every2_imagenet21k.py` or the released weights that it stands for (converted
by `tools/model_converters/vmoe_to_ride_mm.py`; name the file by `load_from`). Published
top-1 % on the validation set, mean of three seeds: 85.6. All of the training images are
trained on, theirs are 99 % of them; the warm-up is an epoch, theirs 0.4 of one.

Position embeddings are resized to the larger images, and the classifier starts anew.

    python tools/train.py configs/vmoe/vmoe_b16_every2_imagenet_384.py

Not run yet.
"""

_base_ = [
    '../_base_/models/vmoe.py',
    '../_base_/datasets/imagenet_vmoe_384.py',
    '../_base_/schedules/vmoe_finetune_8e.py',
    '../_base_/default_runtime.py',
]

load_from = 'work_dirs/vmoe_b16_every2_imagenet21k/epoch_300.pth'

model = dict(
    backbone=dict(img_size=384, moe=dict(router=dict(capacity_factor=1.5))),
    head=dict(loss=dict(use_sigmoid=False)),
)
