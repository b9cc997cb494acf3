"""RIDE with 3 experts and ResNet-50 on your own images, from released weights.

As `ride_r50_custom.py`, but from a converted checkpoint of other data, in 30 epochs: a
tenth of the learning rate, warm-up 2, x0.1 at epochs 18 and 24, re-weighting after 24.
Trunk and experts start from the checkpoint, whose experts and width have to be the
model's; classifiers of other classes start anew, which the log names as a mismatch of
sizes. Number of classes and folder as in `ride_r50_custom.py`.

    python tools/model_converters/official_to_ride_mm.py FILE \
        work_dirs/converted/ride_r50.pth
    python tools/train.py configs/ride/ride_r50_custom_finetune.py --cfg-options \
        model.head.num_classes=12
"""

_base_ = './ride_r50_custom.py'

load_from = 'work_dirs/converted/ride_r50.pth'

optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.5, begin=0, end=2, by_epoch=True),
    dict(type='MultiStepLR', milestones=[18, 24], gamma=0.1, by_epoch=True),
]
train_cfg = dict(max_epochs=30, val_interval=5)
default_hooks = dict(reweight=dict(reweight_epoch=24))
