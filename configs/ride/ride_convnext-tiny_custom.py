"""RIDE with 3 experts and ConvNeXt-T on your own images.

As `ride_r50_custom.py`, as an example of any other backbone of MMPretrain: stages 3 and
4 exist once per expert, of 3/4 width; 50 epochs of AdamW. `load_from` names the file or
address of a plain ConvNeXt-T of MMPretrain; it fills the trunk, and with
`model.backbone.expert_width=1.0` every expert, too. Narrower experts start anew, or
with the plain network's first channels by `model.backbone.narrow_init=slice`. Not run
on real images yet.

    python tools/train.py configs/ride/ride_convnext-tiny_custom.py --cfg-options \
        model.head.num_classes=12 load_from=FILE_OR_ADDRESS
"""

_base_ = './ride_r50_custom.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='MultiExpertBackbone',
        base=dict(type='ConvNeXt', arch='tiny', drop_path_rate=0.1),
        shared_stages=2,
        expert_width=0.75,
        narrow_init='fresh',
    ),
    neck=None,  # ConvNeXt pools before its last normalisation.
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.2, begin=0, end=5, by_epoch=True),
    dict(type='CosineAnnealingLR', begin=5, end=50, eta_min=2e-6, by_epoch=True),
]
train_cfg = dict(max_epochs=50)
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(reweight=dict(reweight_epoch=40))
