"""A short CIFAR schedule for machines without a GPU.

30 epochs, x0.01 at 24 and 27, warm-up of 2; all else as in 200 epochs.
"""

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
)
# Factor (e + 1) / 2 in epoch e < 2.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.5, begin=0, end=2, by_epoch=True),
    dict(type='MultiStepLR', milestones=[24, 27], gamma=0.01, by_epoch=True),
]
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=5)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
