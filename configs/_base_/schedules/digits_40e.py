"""A schedule for digits-LT: 40 epochs, x0.1 at 28 and 36, warm-up of 2."""

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
)
# Factor (e + 1) / 2 in epoch e < 2.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.5, begin=0, end=2, by_epoch=True),
    dict(type='MultiStepLR', milestones=[28, 36], gamma=0.1, by_epoch=True),
]
train_cfg = dict(by_epoch=True, max_epochs=40, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32)
