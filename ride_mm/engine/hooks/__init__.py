"""Hooks: they own time."""

from .accumulation import EpochAccumulationHook
from .class_counts import ClassCountsHook
from .compile import CompileHook
from .cuda_graph import CUDAGraphHook
from .data_time import DataTimeHook
from .dataset_check import DatasetCheckHook
from .deferred_reweight import DeferredReweightHook
from .ema import LTEMAHook
from .expert_cost import ExpertCostHook
from .fit_check import FitCheckHook
from .hard_label_check import HardLabelCheckHook
from .kd import KDHook
from .nan_guard import NaNGuardHook
from .position_seed import PositionSeedHook
from .run_record import RunRecordHook
from .safe_checkpoint import SafeCheckpointHook
from .schedule_guard import ScheduleGuardHook
from .sync_batch_norm_stats import SyncBatchNormStatsHook
from .unreadable_images import UnreadableImagesHook
from .visualization import LTVisualizationHook

__all__ = [
    'CUDAGraphHook',
    'ClassCountsHook',
    'CompileHook',
    'DataTimeHook',
    'DatasetCheckHook',
    'DeferredReweightHook',
    'EpochAccumulationHook',
    'ExpertCostHook',
    'FitCheckHook',
    'HardLabelCheckHook',
    'KDHook',
    'LTEMAHook',
    'LTVisualizationHook',
    'NaNGuardHook',
    'PositionSeedHook',
    'RunRecordHook',
    'SafeCheckpointHook',
    'ScheduleGuardHook',
    'SyncBatchNormStatsHook',
    'UnreadableImagesHook',
]
