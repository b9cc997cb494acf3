"""RIDE with 3 experts and ResNet-50 on your own images, a folder per class.

`tools/new_dataset.py DATA_ROOT` writes a config that fits images and machine; this one
is to be set by hand. The schedule is that of ImageNet-LT.

    python tools/train.py configs/ride/ride_r50_custom.py --cfg-options \
        data_root=DIR model.head.num_classes=12

`DIR` has `train/CLASS/*.jpg` and `test/CLASS/*.jpg`. What else there is to set:

    model.num_experts=4
    train_dataloader.batch_size=32
    load_from=FILE_OR_ADDRESS     MMPretrain's ResNet-50; the trunk takes its weights,
    model.backbone.expert_width=1.0   with this each expert does, too
    train_dataloader.dataset.dataset.pipeline.1.scale=128    smaller images: training,
    {val,test}_dataloader.dataset.pipeline.1.scale=146       evaluation, resized,
    {val,test}_dataloader.dataset.pipeline.2.crop_size=128   and cropped

The same in a config that inherits from this one, where images come from lists or
tables, is in docs/own_images.md.
"""

_base_ = [
    '../_base_/models/ride_r50.py',
    '../_base_/datasets/folder.py',
    '../_base_/schedules/imagenet_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=10))
default_hooks = dict(reweight=dict(reweight_epoch=80))
