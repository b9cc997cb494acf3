"""Every config builds; schedules equal the reference; each family takes its steps."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.cnn.bricks import DropPath
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from shapes import shapes_alone

from ride_mm.cli.configs.network import image_size
from ride_mm.cli.configs.schedule import scale_schedule
from ride_mm.engine.hooks.deferred_reweight import deferred_modules
from ride_mm.models.teacher import Teacher
from ride_mm.utils import resource_root

ROOT = resource_root() / 'configs'
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob('*/*.py')
    if path.parent.name != '_base_'
)
FAMILIES = [
    'ride/ride_r20_digitslt.py',
    'ride/ride_r20_digitslt_router.py',
    'baselines/ldam-drw_r32_cifar100lt_30e.py',
    'vmoe/vmoe_tiny_digitslt.py',
]
FACTORS = Path(__file__).parent / 'data/ride/learning_rate_factor.json'


def load(name: str) -> Config:
    config = Config.fromfile(ROOT / name)
    init_default_scope(config.default_scope)
    return config


def build_model(config: Config) -> torch.nn.Module:
    preprocessor = config.get('data_preprocessor')
    return MODELS.build(dict(config.model, data_preprocessor=preprocessor))


def learning_rates(config: Config) -> list[float]:
    """Learning rate of each epoch, from MMEngine's own schedulers."""
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), config.optim_wrapper)
    schedulers = [
        PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=wrapper))
        for scheduler in config.param_scheduler
    ]
    rates = []
    for _ in range(config.train_cfg.max_epochs):
        rates.append(wrapper.get_lr()['lr'][0])
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


def test_no_config_is_left_out():
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob('*.py')}
    base = {name for name in files if name.startswith('_base_/')}
    assert base and set(CONFIGS) == files - base
    assert 'ride/ride_r32_cifar100lt.py' in CONFIGS


@pytest.mark.parametrize('name', CONFIGS)
def test_config_builds_and_its_parts_fit(name):
    config = load(name)
    with shapes_alone():
        model = build_model(config)
    if hasattr(model, 'num_experts'):
        assert model.head.num_experts == model.num_experts
    else:
        assert name.startswith('vmoe/')
    assert config.custom_imports['imports'] == ['ride_mm']
    assert f'tools/train.py configs/{name}' in (ROOT / name).read_text()
    reweight = config.default_hooks.reweight.reweight_epoch
    assert any(deferred_modules(model)) == (reweight is not None)
    assert reweight is None or reweight < config.train_cfg.max_epochs


@pytest.mark.parametrize(
    ('name', 'golden'),
    [
        ('ride/ride_r32_cifar100lt.py', 'cifar100'),
        ('ride/ride_r32_cifar100lt_distill.py', 'cifar100_distill'),
        ('baselines/ldam-drw_r32_cifar100lt.py', 'cifar100'),
        ('ride/ride_r50_custom.py', 'imagenet_lt'),
        ('ride/ride_rx50_imagenetlt_distill.py', 'imagenet_lt'),
        ('ride/ride_r50_inat18.py', 'imagenet_lt'),
    ],
)
def test_learning_rates_equal_the_reference(name, golden):
    expected = np.array(json.loads(FACTORS.read_text())[golden])
    config = load(name)
    got = np.array(learning_rates(config)) / config.optim_wrapper.optimizer.lr
    np.testing.assert_allclose(got, expected[: len(got)], rtol=1e-6)
    assert len(got) == config.train_cfg.max_epochs >= 100


def test_learning_rates_of_the_routers():
    rates = learning_rates(load('ride/ride_r32_cifar100lt_router.py'))
    expected = [0.01 * (1 + np.cos(np.pi * epoch / 5)) / 2 for epoch in range(5)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_a_router_s_config_starts_from_the_last_epoch_of_stage_one():
    stages = [(n, n.replace('_router', '')) for n in CONFIGS if 'router' in n]
    assert len(stages) >= 3
    for two, one in stages:
        epochs = load(one).train_cfg.max_epochs
        expected = f'work_dirs/{Path(one).stem}/epoch_{epochs}.pth'
        assert load(two).load_from == expected


def test_learning_rates_of_the_short_schedule():
    config = load('ride/ride_r32_cifar100lt_30e.py')
    expected = [0.05] + [0.1] * 23 + [1e-3] * 3 + [1e-5] * 3
    np.testing.assert_allclose(learning_rates(config), expected, rtol=1e-6)


@pytest.mark.parametrize('epochs', [3, 15, 60])
def test_learning_rates_of_a_scaled_schedule_reach_the_full_rate(epochs):
    config = load('ride/ride_r32_cifar100lt_30e.py')
    config.merge_from_dict(scale_schedule(config, epochs))
    rates = learning_rates(config)
    assert len(rates) == epochs
    assert max(rates) == pytest.approx(0.1)
    assert min(rates) == rates[-1] == pytest.approx(1e-5)


def steps(name: str) -> None:
    """One training step and one test step on fabricated images."""
    config = load(name)
    model = build_model(config)
    model.init_weights()
    if 'teacher' in config.default_hooks:
        teacher = load(f'ride/{config.default_hooks.teacher.config}.py')
        model.teacher = Teacher(build_model(teacher))
    head = model.head
    for module in model.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0  # A block that is left out learns nothing.
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts(list(range(head.num_classes, 0, -1)))
    height, width = image_size(config)
    batch = dict(
        inputs=[torch.randint(0, 256, (3, height, width)).byte() for _ in range(2)],
        data_samples=[DataSample().set_gt_label(label) for label in (0, 1)],
    )
    # One step is one batch here, whatever the recipe accumulates.
    settings = {**config.optim_wrapper, 'accumulative_counts': 1}
    wrapper = build_optim_wrapper(model, settings)
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    if name.startswith('vmoe/'):
        # A classifier that starts at 0 lets nothing before it learn in the first step.
        model.train().train_step(copy.deepcopy(batch), wrapper)
    log = model.train().train_step(batch, wrapper)
    assert all(torch.isfinite(value).all() for value in log.values())
    learning = [p for p in model.parameters() if p.requires_grad]
    changed = [not torch.equal(a, b) for a, b in zip(before, learning, strict=True)]
    assert all(changed)
    for sample in model.eval().test_step(batch):
        assert sample.pred_score.shape == (head.num_classes,)
        assert sample.pred_score.sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize('name', FAMILIES)
def test_one_config_of_each_family_takes_a_step(name):
    steps(name)


@pytest.mark.slow
@pytest.mark.parametrize('name', [n for n in CONFIGS if n not in FAMILIES])
def test_all_configs_take_a_step(name):
    steps(name)
