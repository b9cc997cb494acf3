"""SADE's schedule for Places-LT: 30 epochs, x0.1 at 10 and 20, no warm-up.

The pre-trained network learns at a tenth of the classifiers' rate
(https://github.com/Vanint/SADE-AgnosticLT, its configuration of Places-LT).
"""

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True, weight_decay=4e-4),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(type='MultiStepLR', milestones=[10, 20], gamma=0.1, by_epoch=True)
]
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=5)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
