"""The field's long CIFAR schedule: 400 epochs, x0.1 at 320 and 360, warm-up of 10."""

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
)
# Factor (e + 1) / 10 in epoch e < 10.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=10, by_epoch=True),
    dict(type='MultiStepLR', milestones=[320, 360], gamma=0.1, by_epoch=True),
]
train_cfg = dict(by_epoch=True, max_epochs=400, val_interval=20)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
