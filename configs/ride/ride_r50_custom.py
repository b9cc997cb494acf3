"""RIDE with 3 experts and ResNet-50 on images of one's own, a folder per class.

Set the number of classes and the folder; the schedule is that of ImageNet-LT. The trunk
takes the weights of MMPretrain's ResNet-50 if `load_from` names their file or address;
with `model.backbone.expert_width=1.0` each expert does, too.

    python tools/train.py configs/ride/ride_r50_custom.py --cfg-options \
        model.head.num_classes=12 train_dataloader.dataset.dataset.data_root=DIR \
        val_dataloader.dataset.data_root=DIR test_dataloader.dataset.data_root=DIR
"""

_base_ = [
    '../_base_/models/ride_r50.py',
    '../_base_/datasets/folder.py',
    '../_base_/schedules/imagenet_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=10))
default_hooks = dict(reweight=dict(reweight_epoch=80))
