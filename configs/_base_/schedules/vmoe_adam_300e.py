"""V-MoE's pre-training: 300 epochs of Adam, warm-up of 10,000 steps, linear to 1e-5.

Weight decay on kernels only. For 8,192 images a step, of which one process loads 128 at
a time; 65 epochs of ImageNet are those 10,000 steps.
"""

optim_wrapper = dict(
    optimizer=dict(
        type='AdamW', lr=3e-3, weight_decay=0.1, eps=1e-8, betas=(0.9, 0.999)
    ),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            'cls_token': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
        },
    ),
    clip_grad=dict(max_norm=1.0),
    accumulative_counts=64,
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        by_epoch=True,
        begin=0,
        end=65,
        convert_to_iter_based=True,
    ),
    dict(
        type='PolyLR',
        power=1.0,
        eta_min=1e-5,
        by_epoch=True,
        begin=65,
        end=300,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8192)
