"""What every run shares: hooks, environment, logging, seed."""

custom_imports = dict(imports=['ride_mm'], allow_failed_imports=False)
default_scope = 'mmpretrain'

# Hooks of a run by name; a child config changes one by its name. A child's own
# `custom_hooks` come on top.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='LTVisualizationHook', enable=False),
    # Checks before the first batch.
    class_num=dict(type='ClassNumCheckHook'),
    datasets=dict(type='DatasetCheckHook'),
    checkpoint_fit=dict(type='FitCheckHook'),
    hard_labels=dict(type='HardLabelCheckHook'),
    schedule_guard=dict(type='ScheduleGuardHook'),
    # What changes in time.
    class_counts=dict(type='ClassCountsHook'),
    reweight=dict(type='DeferredReweightHook', reweight_epoch=None),
    # What trains faster: enable=True, see docs/speed.md.
    compile=dict(type='CompileHook', enable=False),
    cuda_graph=dict(type='CUDAGraphHook', enable=False),
    # What splits experts over processes, under model_wrapper_cfg.type=ExpertParallel.
    expert_parallel=dict(type='ExpertParallelHook'),
    # What the metrics are told.
    expert_cost=dict(type='ExpertCostHook'),
    # What the log says of images that were skipped.
    unreadable_images=dict(type='UnreadableImagesHook'),
    # What the log says of waiting for data.
    data_time=dict(type='DataTimeHook'),
    # What makes a resumed run equal a straight one.
    position_seed=dict(type='PositionSeedHook'),
    accumulation=dict(type='EpochAccumulationHook'),
    nan_guard=dict(type='NaNGuardHook'),
    sync_batch_norm_stats=dict(type='SyncBatchNormStatsHook'),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)

log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0, deterministic=False)
