"""V-MoE's fine-tuning: SGD, a cosine to 1e-5, 8 epochs of ImageNet.

They are the authors' 10,000 steps of 1,024 images. The warm-up is the first epoch,
theirs 500 steps, which are 0.4 of it. One process loads 32 images at a time.
"""

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=3e-3, momentum=0.9),
    clip_grad=dict(max_norm=10.0),
    accumulative_counts=32,
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        by_epoch=True,
        begin=0,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=1,
        end=8,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
