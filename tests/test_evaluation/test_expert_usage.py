"""How many experts the samples use: exact figures, costs, what is absent, errors."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample

from ride_mm.analysis import PartCosts
from ride_mm.evaluation import ExpertUsage, expert_usage

COUNTS = [101, 100, 20, 19]
LABELS = [0, 0, 0, 0, 1, 1, 2, 3]
USED = [1, 1, 1, 2, 1, 3, 3, 3]
OVERALL = dict(mean_experts=15 / 8, share_1=50.0, share_2=12.5, share_3=37.5)
COSTS = PartCosts(40_000_000, (10_000_000,) * 3, (1_000_000,) * 2)


def evaluate(metric, used=USED, labels=LABELS):
    evaluator = Evaluator([metric])
    evaluator.dataset_meta = dict(classes=('a', 'b', 'c', 'd'))
    samples = [
        DataSample(num_experts=k).set_gt_label(label)
        for label, k in zip(labels, used, strict=True)
    ]
    for start in range(0, len(samples), 3):
        evaluator.process(samples[start : start + 3])
    result = evaluator.evaluate(len(samples))
    assert all(type(value) is float for value in result.values())
    return {name.removeprefix('expert_usage/'): v for name, v in result.items()}


def test_figures():
    got = evaluate(ExpertUsage(class_counts=COUNTS))
    many = dict(mean_experts=1.25, share_1=75, share_2=25, share_3=0)
    # The mean of class 1, half of which uses one expert, and class 2.
    medium = dict(mean_experts=(2 + 3) / 2, share_1=25, share_2=0, share_3=75)
    few = dict(mean_experts=3, share_1=0, share_2=0, share_3=100)
    expected = dict(OVERALL)
    for group, figures in (('many', many), ('medium', medium), ('few', few)):
        expected.update({f'{name}_{group}': v for name, v in figures.items()})
    assert got == pytest.approx(expected)


def test_only_tested_classes_and_groups_count():
    got = evaluate(ExpertUsage(class_counts=COUNTS), [1, 2, 2, 2], [0, 2, 2, 2])
    assert got['mean_experts_many'] == 1
    assert got['mean_experts_medium'] == 2  # class 1 has no sample
    assert not [name for name in got if name.endswith('few')]


def test_thresholds_are_settings():
    metric = METRICS.build(
        dict(type='ExpertUsage', many=19, few=15, class_counts=COUNTS)
    )
    got = evaluate(metric)
    # Class means 1.25, 2 and 3; class 3, of 19 images, is medium.
    assert got['mean_experts_many'] == pytest.approx((1.25 + 2 + 3) / 3)
    assert got['mean_experts_medium'] == 3
    with pytest.raises(ValueError, match='got many=10, few=20'):
        ExpertUsage(many=10, few=20)


def test_costs():
    metric = ExpertUsage()
    metric.set_part_costs(COSTS, 50_000_000)
    got = evaluate(metric)
    # 51, 62 and 72 million for 1, 2, 3 experts.
    macs = (4 * 51 + 62 + 3 * 72) / 8
    assert got['mean_macs'] == pytest.approx(macs)
    assert got['macs_ratio'] == pytest.approx(macs / 50)
    metric.set_part_costs(COSTS, None)
    got = evaluate(metric)
    assert got['mean_macs'] == pytest.approx(macs)
    assert 'macs_ratio' not in got


def test_without_costs_and_class_counts_the_rest_is_there():
    metric = ExpertUsage()
    assert evaluate(metric) == pytest.approx(OVERALL)
    assert evaluate(metric, [1, 1, 2, 1], [0] * 4) == pytest.approx(
        dict(mean_experts=1.25, share_1=75, share_2=25)
    )


def test_an_expert_that_nobody_used_has_a_share():
    metric = ExpertUsage(class_counts=COUNTS)
    metric.set_part_costs(COSTS, None)
    got = evaluate(metric, [1, 1], [0, 3])
    assert got['share_1'] == got['share_1_few'] == 100
    for k in (2, 3):
        assert got[f'share_{k}'] == got[f'share_{k}_many'] == 0
    assert got['mean_macs'] == pytest.approx(51)


def test_counts_come_from_the_hook_unless_the_config_gave_them():
    told = ExpertUsage()
    told.set_class_counts(COUNTS)
    assert evaluate(told)['mean_experts_many'] == 1.25
    given = ExpertUsage(class_counts=[1, 1, 1, 1])
    given.set_class_counts(COUNTS)
    assert 'mean_experts_many' not in evaluate(given)


def test_shares_by_shots_sum_to_all():
    rng = np.random.default_rng(0)
    labels, used = rng.integers(0, 4, 200), rng.integers(1, 5, 200)
    got = expert_usage(labels, used, 4, COUNTS)
    for suffix in ('', '_many', '_medium', '_few'):
        shares = np.array([got[f'share_{k}{suffix}'] for k in range(1, 5)])
        assert shares.sum() == pytest.approx(100)
        mean = shares @ np.arange(1, 5) / 100
        assert got[f'mean_experts{suffix}'] == pytest.approx(mean)
    one = used[labels == 0]
    assert got['share_2_many'] == pytest.approx(100 * (one == 2).mean())


def test_a_model_that_does_not_tell_is_refused():
    sample = dict(pred_score=torch.ones(2), gt_label=torch.tensor([0]))
    with pytest.raises(ValueError, match='num_experts .*RouterHead.*pred_score') as err:
        ExpertUsage().process(None, [sample])
    assert 'take ExpertUsage out of the evaluator' in str(err.value)


@pytest.mark.parametrize(
    ('labels', 'used', 'message'),
    [
        ([0, 1], [1, 4], 'num_experts: expected 1 to 3, got 4'),
        ([0, 1], [0, 1], 'num_experts: expected 1 to 3, got 0'),
        ([0, 4], [1, 1], 'test labels: expected 0 to 3, .* got 0 to 4'),
        ([-1, 1], [1, 1], 'test labels: expected 0 to 3, .* got -1 to 1'),
    ],
)
def test_numbers_that_do_not_fit_are_refused(labels, used, message):
    with pytest.raises(ValueError, match=message):
        expert_usage(np.array(labels), np.array(used), 3, COUNTS)


def test_an_average_over_views_is_refused():
    views = dict(data_samples=[[DataSample()], [DataSample()]])
    with pytest.raises(ValueError, match='several views .* test without --tta'):
        ExpertUsage().process(views, [dict(num_experts=1)])
