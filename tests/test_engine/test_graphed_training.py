"""Runs with graphed steps, computed anew on a CPU: equal to plain ones to the bit."""

from functools import cache

import pytest
from mmengine.config import Config
from repeated_graphs import Repeated, trained

from ride_mm.engine.graphed import GraphedStep

GRAPHED = dict(custom_hooks=[dict(type='RepeatedGraphHook')])
HALF = dict(optim_wrapper__type='AutocastOptimWrapper')
CLIPPED = dict(optim_wrapper__clip_grad=dict(max_norm=0.1))
LDAM = dict(
    _delete_=True,
    type='LDAMLoss',
    scale=1.0,
    reweight='deferred',
    class_counts=[40, 20, 5],
)
REWEIGHTED = dict(model__head__loss=LDAM, default_hooks__reweight__reweight_epoch=1)
RUNS = {
    'default': {},
    'half': HALF,
    'clipped': CLIPPED,
    'reweighted': REWEIGHTED,
    'reweighted later': {**REWEIGHTED, 'default_hooks__reweight__reweight_epoch': 2},
    'together': {**HALF, **CLIPPED, **REWEIGHTED},
}


@pytest.fixture(scope='module', autouse=True)
def _short_logs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, 'pretty_text', '')
        yield


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Trains as RUNS say, each once: digest, and how often a step was recorded."""

    @cache
    def train(name, graphed=False):
        Repeated.made = 0
        hooks = GRAPHED if graphed else {}
        digest = trained(tmp_path_factory.mktemp('run'), **RUNS[name], **hooks)
        return digest, Repeated.made

    return train


def test_each_change_makes_a_difference(run):
    assert len({run(name) for name in RUNS}) == len(RUNS)


@pytest.mark.parametrize('name', RUNS)
def test_graphed_run_equals_a_plain_one(name, run):
    plain, _ = run(name)
    graphed, recordings = run(name, graphed=True)
    assert graphed == plain
    # Once more when re-weighting begins.
    begins = 'default_hooks__reweight__reweight_epoch' in RUNS[name]
    assert recordings == (2 if begins else 1)


@pytest.mark.parametrize('name', ['default', 'together'])
def test_resumed_graphed_run_equals_a_straight_one(name, run, tmp_path, monkeypatch):
    steps = []
    original = GraphedStep.step

    def stop(*args):
        steps.append(1)
        if len(steps) == 5:  # The second step of the second epoch.
            raise ConnectionError('the power went off')
        return original(*args)

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(GraphedStep, 'step', stop)
        trained(tmp_path, **RUNS[name], **GRAPHED)
    assert [path.name for path in tmp_path.glob('epoch_*')] == ['epoch_1.pth']
    Repeated.made = 0
    resumed = trained(tmp_path, resume=True, **RUNS[name], **GRAPHED)
    assert Repeated.made == 1
    assert resumed == run(name, graphed=True)[0]
    assert resumed == run(name)[0]
