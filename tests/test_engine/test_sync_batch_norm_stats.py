"""BatchNorm's statistics are averaged over processes, unless they stand still."""

from types import SimpleNamespace

import torch
from mmengine.hooks import CheckpointHook
from torch import nn

from ride_mm.engine.hooks import SyncBatchNormStatsHook
from ride_mm.engine.hooks import sync_batch_norm_stats as module


def test_only_layers_in_training_are_averaged(monkeypatch):
    monkeypatch.setattr(module, 'get_world_size', lambda: 3)
    monkeypatch.setattr(module, 'all_reduce', lambda tensor, op: tensor.fill_(7))
    model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1))
    model[1].eval()
    hook, runner = SyncBatchNormStatsHook(), SimpleNamespace(model=model, hooks=[])
    hook.after_train_epoch(runner)
    assert model[0].running_mean.tolist() == [0, 0]  # nothing has been trained
    hook.after_train_iter(runner)
    hook.after_train_epoch(runner)
    assert model[0].running_mean.tolist() == model[0].running_var.tolist() == [7, 7]
    assert model[1].running_mean.tolist() == [0, 0]
    assert torch.equal(model[1].running_var, torch.ones(2))


def test_a_checkpoint_within_an_epoch_has_averaged_statistics(monkeypatch):
    monkeypatch.setattr(module, 'get_world_size', lambda: 2)
    monkeypatch.setattr(module, 'all_reduce', lambda tensor, op: tensor.add_(1))
    model = nn.BatchNorm2d(1)
    hooks = [CheckpointHook(interval=2, by_epoch=False), CheckpointHook(interval=1)]
    hook = SyncBatchNormStatsHook()
    means = []
    for i in range(5):
        runner = SimpleNamespace(model=model, hooks=hooks, iter=i, max_iters=5)
        hook.after_train_iter(runner)
        means.append(model.running_mean.item())
    # After the second and the fourth iteration, and after the last one.
    assert means == [0, 1, 1, 2, 3]
    hook.after_train_epoch(runner)
    assert model.running_mean.item() == 3
