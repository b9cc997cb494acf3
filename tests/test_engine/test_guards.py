"""Hooks that stop a run before it does harm."""

import math
from pathlib import Path

import pytest
import torch
from engine_helpers import files_in, run_tiny, tiny_config
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.models import LinearClsHead

from ride_mm.engine.checkpoint_io import CheckpointError, load_checkpoint_file
from ride_mm.engine.hooks.nan_guard import loss_terms
from ride_mm.engine.hooks.schedule_guard import (
    ScheduleChangedError,
    data_settings,
    describe_config,
    differences,
)


@pytest.fixture(autouse=True)
def quick_config_text(monkeypatch):
    """Formatting the config takes most of the time of a tiny run."""
    monkeypatch.setattr(Config, 'pretty_text', '')


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('trained')
    run_tiny(folder, train_cfg__max_epochs=1)
    return folder / 'epoch_1.pth'


class TestNaNGuard:
    @pytest.mark.parametrize('value', [math.nan, math.inf])
    def test_stops_and_keeps_the_last_good_checkpoint(
        self, tmp_path, monkeypatch, value
    ):
        steps = []
        loss = LinearClsHead.loss

        def spoilt_loss(self, *args, **kwargs):
            steps.append(1)
            losses = loss(self, *args, **kwargs)
            # The second iteration of the second epoch.
            return {
                **losses,
                'loss_extra': torch.tensor(value if len(steps) == 5 else 0.0),
            }

        monkeypatch.setattr(LinearClsHead, 'loss', spoilt_loss)
        message = (
            r'epoch 2, iteration 2 of 3: .*loss=.*loss_extra=(nan|inf).*'
            r'epoch_1\.pth.*learning rate'
        )
        with pytest.raises(RuntimeError, match=message):
            run_tiny(tmp_path)
        assert 'epoch_1.pth' in files_in(tmp_path)
        assert 'epoch_2.pth' not in files_in(tmp_path)
        weights = load_checkpoint_file(tmp_path / 'epoch_1.pth')['state_dict']
        assert all(weight.isfinite().all() for weight in weights.values())

    def test_weights_spoilt_by_the_last_step_are_not_saved(self, tmp_path, monkeypatch):
        steps = []
        train_step = LinearClsHead.loss

        def spoil_gradient(self, *args, **kwargs):
            steps.append(1)
            losses = train_step(self, *args, **kwargs)
            if len(steps) == 6:  # The last iteration of the second epoch.
                losses['loss'].register_hook(lambda gradient: gradient * math.nan)
            return losses

        monkeypatch.setattr(LinearClsHead, 'loss', spoil_gradient)
        with pytest.raises(RuntimeError, match=r'epoch 2: expected finite parameters'):
            run_tiny(tmp_path)
        assert 'epoch_1.pth' in files_in(tmp_path)
        assert 'epoch_2.pth' not in files_in(tmp_path)

    def test_loss_terms(self):
        outputs = {
            'loss': torch.tensor(1.0),
            'loss_div': -2.0,
            'acc': 3,
            'x_loss': 'no',
        }
        assert loss_terms(outputs) == {'loss': 1.0, 'loss_div': -2.0}
        assert loss_terms(None) == {}


class TestScheduleGuard:
    @pytest.mark.parametrize(
        ('changes', 'difference'),
        [
            ({'train_cfg__max_epochs': 5}, 'max_epochs: expected 1, got 5'),
            ({'randomness__seed': 4}, 'randomness.seed: expected 0, got 4'),
            (
                {'param_scheduler': [{'type': 'MultiStepLR', 'milestones': [1]}]},
                'param_scheduler: expected',
            ),
            (
                {'optim_wrapper__optimizer__lr': 1.0},
                'optim_wrapper.optimizer.lr: expected 0.05, got 1.0',
            ),
            (
                {'optim_wrapper__type': 'AutocastOptimWrapper'},
                "optim_wrapper.type: expected None, got 'AutocastOptimWrapper'",
            ),
            ({'train_dataloader__batch_size': 4}, 'images_per_step: expected 8, got 4'),
            (
                {'train_dataloader__dataset__dataset__size': 27},
                'training_images: expected 24, got 27',
            ),
            (
                {'train_dataloader__dataset__dataset__size': 27},
                'class_counts: expected [8, 8, 8], got [9, 9, 9]',
            ),
            (
                {
                    'train_dataloader__dataset__imbalance': 'exp',
                    'train_dataloader__dataset__factor': 2.0,
                },
                "train_dataloader.dataset.imbalance: expected None, got 'exp'",
            ),
            (
                {
                    'train_dataloader__dataset__held_out': {'per_class': 1},
                    'train_dataloader__dataset__dataset__size': 27,
                },
                'train_dataloader.dataset.held_out: expected None, got',
            ),
            (
                {'train_dataloader__dataset__dataset__pipeline__1__prob': 0.0},
                'train_dataloader.dataset.dataset.pipeline[1].prob: expected 0.5',
            ),
            (
                {'train_dataloader__sampler__shuffle': False},
                'train_dataloader.sampler.shuffle: expected True, got False',
            ),
            (
                {'model__train_cfg__augments__alpha': 1.0},
                'model.train_cfg.augments.alpha: expected 0.2, got 1.0',
            ),
            (
                {'model__head__loss__loss_weight': 2.0},
                'model.head.loss.loss_weight: expected None, got 2.0',
            ),
        ],
    )
    def test_changed_training_is_refused(self, trained, tmp_path, changes, difference):
        changes = {'train_cfg__max_epochs': 1, **changes}
        with pytest.raises(ScheduleChangedError) as err:
            run_tiny(tmp_path, load_from=str(trained), resume=True, **changes)
        assert difference in str(err.value)
        assert 'load_from' in str(err.value)

    def test_a_file_of_class_names_may_be_moved(self):
        data = dict(type='CustomDataset', classes='here/classes.txt', extensions=['a'])
        moved = dict(data, classes='there/classes.txt')
        named = dict(data, classes=['cat', 'dog'])
        assert data_settings(dict(dataset=data)) == data_settings(dict(dataset=moved))
        assert data_settings(dict(dataset=named))['dataset']['classes'] == [
            'cat',
            'dog',
        ]
        # What an earlier version has written reads the same.
        before = dict(dataset=data, sampler=None, batch_sampler=None)
        assert data_settings(before) == data_settings(dict(dataset=moved))

    def test_changed_deferred_reweighting_is_refused(self, trained, tmp_path):
        with pytest.raises(ScheduleChangedError, match='reweight_epoch: expected None'):
            run_tiny(
                tmp_path,
                load_from=str(trained),
                resume=True,
                train_cfg__max_epochs=1,
                default_hooks__reweight__reweight_epoch=0,
            )

    def test_what_does_not_change_training_is_free(self, trained, tmp_path):
        runner = run_tiny(
            tmp_path,
            load_from=str(trained),
            resume=True,
            train_cfg__max_epochs=1,
            train_dataloader__num_workers=1,
            default_hooks__logger__interval=7,
            default_hooks__checkpoint__interval=3,
            val_dataloader__batch_size=3,
            train_dataloader__dataset__check_images='none',
            train_dataloader__dataset__dataset__data_root='elsewhere',
        )
        assert runner.epoch == 1

    def test_how_images_lie_in_memory_is_free(self):
        model = {'type': 'RIDEClassifier', 'num_experts': 3}
        other = describe_config({'model': model | {'channels_last': True}})
        assert other == describe_config({'model': model})

    def test_weights_alone_may_be_trained_differently(self, trained, tmp_path):
        runner = run_tiny(tmp_path, load_from=str(trained), train_cfg__max_epochs=2)
        assert runner.epoch == 2

    def test_checkpoint_without_description_is_resumed(self, trained, tmp_path):
        checkpoint = load_checkpoint_file(trained)
        del checkpoint['training']
        torch.save(checkpoint, tmp_path / 'stock.pth')
        runner = run_tiny(
            tmp_path,
            load_from=str(tmp_path / 'stock.pth'),
            resume=True,
            train_cfg__max_epochs=2,
        )
        assert runner.epoch == 2
        log = next(tmp_path.glob('*/*.log')).read_text()
        assert log.count('does not say how it was trained') == 1

    def test_checkpoint_that_describes_less_is_resumed(self, trained, tmp_path):
        checkpoint = load_checkpoint_file(trained)
        for key in ('train_dataloader', 'subset_hash'):
            assert checkpoint['training'].pop(key)
        torch.save(checkpoint, tmp_path / 'earlier.pth')
        runner = run_tiny(
            tmp_path,
            load_from=str(tmp_path / 'earlier.pth'),
            resume=True,
            train_cfg__max_epochs=1,
            train_dataloader__sampler__shuffle=False,
        )
        assert runner.epoch == 1

    def test_resuming_from_weights_alone_is_refused(self, trained, tmp_path):
        best = trained.with_name('best_score_nll_epoch_1.pth')
        with pytest.raises(CheckpointError, match='without optimizer.*load_from'):
            run_tiny(
                tmp_path, load_from=str(best), resume=True, train_cfg__max_epochs=1
            )

    def test_description_is_plain_and_has_no_paths(self, trained):
        description = load_checkpoint_file(trained)['training']
        assert description['max_epochs'] == 1
        assert description['class_counts'] == [8, 8, 8]
        assert str(trained.parent) not in repr(description)

    def test_differences(self):
        expected = {'a': [1, {'b': 2}], 'c': 'x', 'd': 1}
        assert list(differences(expected, expected)) == []
        got = {'a': [1, {'b': 3}], 'c': ['x'], 'e': 0}
        assert list(differences(expected, got)) == [
            'a[1].b: expected 2, got 3',
            "c: expected 'x', got ['x']",
            'd: expected 1, got None',
            'e: expected None, got 0',
        ]


class TestPositionSeed:
    def test_loop_by_iteration_is_warned_about(self, tmp_path):
        cfg = tiny_config(tmp_path)
        cfg.train_cfg = {'by_epoch': False, 'max_iters': 2, 'val_interval': 2}
        cfg.default_hooks.checkpoint.by_epoch = False
        runner = Runner.from_cfg(cfg)
        runner.train()
        assert runner.iter == 2
        assert 'iter_2.pth' in files_in(tmp_path)
        log = next(tmp_path.glob('*/*.log')).read_text()
        assert log.count('IterBasedTrainLoop tells no epoch') == 1

    def test_seed_of_the_checkpoint_reaches_sampler_and_dataset(self, tmp_path):
        run_tiny(tmp_path / 'a', train_cfg__max_epochs=1, randomness__seed=5)
        runner = run_tiny(
            tmp_path / 'b',
            train_cfg__max_epochs=1,
            load_from=str(tmp_path / 'a' / 'epoch_1.pth'),
            resume=True,
            randomness__seed=None,
        )
        assert runner.seed == 5
        assert runner.train_dataloader.sampler.seed == 5

    def test_configured_seed_of_a_sampler_stays(self, tmp_path):
        runner = run_tiny(
            tmp_path, train_cfg__max_epochs=1, train_dataloader__sampler__seed=7
        )
        assert runner.train_dataloader.sampler.seed == 7

    def test_dataset_without_epoch_is_warned_about_once(self, tmp_path):
        cfg = tiny_config(
            tmp_path,
            train_dataloader__num_workers=1,
            train_cfg__max_epochs=1,
        )
        del cfg.default_hooks.class_counts  # They come from LongTailed.
        cfg.train_dataloader.dataset = cfg.train_dataloader.dataset.dataset
        Runner.from_cfg(cfg).train()
        log = next(tmp_path.glob('*/*.log')).read_text()
        assert log.count('has no set_epoch(epoch, seed)') == 1
