"""The configs, with ``$name`` where a data set's own values go."""

EXPERTS = '''\
"""RIDE with $experts and ResNet-$depth on $name, stage one.

$summary. Written by tools/new_dataset.py
for this machine ($machine). All of it may be changed; chosen were

$chosen

Run, always from the same folder, for work_dirs/ is made there:

$commands

The lists of the images (lines of path and label) and of the classes lie beside this
file, and the folder may be moved. Where the images are says data_root.
"""

_base_ = './default_runtime.py'

data_root = $data_root
lists = '{{ fileDirname }}'  # the folder of this file
image_size = $image_size
batch_size = $batch_size
num_workers = $workers  # processes that load images
# A class with more training images is many-shot, with fewer few-shot.
shots = dict(many=$many, few=$few)
$start
model = dict(
    type='RIDEClassifier',
    num_experts=$num_experts,
    backbone=dict(type='$backbone', depth=$depth, expert_width=$width),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiExpertHead',
        num_classes=$num_classes,
        classifier='cosine',
        scale=30.0,
        loss=dict(type='LDAMLoss', max_margin=0.5, scale=30.0, reweight='deferred'),
        # How far the experts are driven apart.
        diversity=$diversity,
    ),
)
# In the order RGB; those of ImageNet, which pretrained weights expect.
data_preprocessor = dict(
    num_classes=$num_classes,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
$pipelines
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='LongTailed',
        dataset=dict(
            type='LTListFile',
            data_root=data_root,
            ann_file=f'{lists}/train.txt',
            classes=f'{lists}/classes.txt',
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='LTListFile',
        data_root=data_root,
        ann_file=f'{lists}/$validation.txt',
        classes=f'{lists}/classes.txt',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = $test_dataloader
val_evaluator = [dict(type='ShotAccuracy', **shots), dict(type='ExpertAccuracy')]
test_evaluator = val_evaluator

# For another length use `tools/train.py ... --epochs N`, which scales all of it.
optim_wrapper = dict(
    # The rate is for this batch size: of half the images half the rate.
    optimizer=dict(
        type='SGD', lr=$rate, momentum=0.9, nesterov=True, weight_decay=$decay
    )
)
param_scheduler = [
$warm_up    dict(type='MultiStepLR', milestones=$milestones, gamma=$gamma),
]
train_cfg = dict(by_epoch=True, max_epochs=$epochs, val_interval=$val_interval)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(
    # From this epoch on rare classes weigh more.
    reweight=dict(reweight_epoch=$reweight_epoch),
    logger=dict(interval=$log_interval),
)
'''

PRETRAINED = """\
# A file or address of MMPretrain's ResNet-$depth: the trunk takes its weights and, with
# expert_width=1.0, each expert does. Worth it for few images.
load_from = None
"""

OWN_TEST = """\
dict(
    batch_size=batch_size,
    num_workers=num_workers,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='LTListFile',
        data_root=data_root,
        ann_file=f'{lists}/test.txt',
        classes=f'{lists}/classes.txt',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)"""

SMALL_PIPELINES = """
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=image_size, edge='short', backend='pillow'),
    dict(type='RandomCrop', crop_size=image_size, padding=image_size // 8),
    # Not for images whose left and right tell classes apart, such as letters.
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=image_size, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=image_size),
    dict(type='PackInputs'),
]
"""

LARGE_PIPELINES = """
train_pipeline = [
    dict(type='LoadImageFromFile'),
    # A part of the image, 8 to 100 % of its area.
    dict(type='RandomResizedCrop', scale=image_size, backend='pillow'),
    # Not for images whose left and right tell classes apart, such as letters.
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    # Not for classes that differ in colour.
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=image_size * 8 // 7, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=image_size),
    dict(type='PackInputs'),
]
"""

ROUTER = '''\
"""RIDE with $experts and ResNet-$depth on $name, stage two: the routers.

Stage one, `$stem.py`, stays as it is.
Routers learn when an image needs a further expert; how many it takes on average can be
set afterwards, by tools/analysis_tools/route_budget.py.

$commands
"""

_base_ = './$stem.py'

# The last epoch of stage one; another one by --cfg-options load_from=FILE.
load_from = '$checkpoint'

model = dict(head=dict(type='RouterHead', top_z=$top_z, router_init='$init'))
# Each class as often as any other.
train_dataloader = dict(
    sampler=dict(_delete_=True, type='LongTailedSampler', strategy='class_balanced'),
)
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=$epochs, eta_min=0.0)]
train_cfg = dict(max_epochs=$epochs, val_interval=$val_interval)
val_evaluator = [
    dict(
        type='ShotAccuracy',
        many={{_base_.shots.many}},
        few={{_base_.shots.few}},
    ),
    dict(type='ExpertUsage'),
]
test_evaluator = val_evaluator
default_hooks = dict(reweight=dict(reweight_epoch=None))
'''
