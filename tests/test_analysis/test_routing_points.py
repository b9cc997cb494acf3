from dataclasses import replace

import numpy as np
import pytest
from routing_cases import COST, INF, random_cost, random_records, tiny

from ride_mm.analysis.routing import (
    evaluate_thresholds,
    experts_used,
    probability_to_threshold,
    threshold_to_probability,
)
from ride_mm.evaluation.metrics.shot_accuracy import accuracy_by_class, shot_accuracy


def walk(scores, thresholds):
    """Send one sample from expert to expert."""
    used = 1
    for score, threshold in zip(scores, thresholds, strict=True):
        if not score > threshold:
            return used
        used += 1
    return used


@pytest.mark.parametrize('num_experts', [2, 3, 6])
@pytest.mark.parametrize('tied', [False, True])
def test_samples_walk_from_expert_to_expert(num_experts, tied):
    records = random_records(1, 100, num_experts, tied)
    rng = np.random.default_rng(2)
    values = np.append(rng.choice(records.scores.ravel(), 8), [-INF, INF])
    for _ in range(20):
        thresholds = rng.choice(values, num_experts - 1)
        used = experts_used(records.scores, thresholds)
        assert used.tolist() == [walk(s, thresholds) for s in records.scores]


def test_one_that_stopped_never_comes_back():
    assert experts_used([[-1.0, 5.0, 5.0]], [0, 0, 0]).tolist() == [1]
    assert experts_used([[1.0, -5.0, 5.0]], [0, 0, 0]).tolist() == [2]


def test_a_score_at_the_threshold_stops():
    assert experts_used([[0.5], [np.nextafter(0.5, 1)]], [0.5]).tolist() == [1, 2]


@pytest.mark.parametrize('seed', range(5))
def test_a_higher_threshold_never_asks_more(seed):
    records = random_records(seed, num_experts=4)
    rng = np.random.default_rng(seed)
    low = rng.normal(0, 1, 3)
    high = low + rng.exponential(0.5, 3)
    more = experts_used(records.scores, low)
    less = experts_used(records.scores, high)
    assert (less <= more).all()
    assert less.sum() < more.sum()


def test_thresholds_must_fit_the_routers():
    with pytest.raises(ValueError, match=r'expected 2, .* got shape \(3,\)'):
        experts_used(np.zeros((5, 2)), [0, 0, 0])
    with pytest.raises(ValueError, match='got .0.0, nan.'):
        experts_used(np.zeros((5, 2)), [0, np.nan])


def test_an_operating_point_in_closed_form():
    point = evaluate_thresholds(tiny(), [0, 0], COST)
    assert point.thresholds == (0, 0)
    assert point.shares == (0.5, 0.25, 0.25)
    assert point.mean_experts == 1.75
    assert point.macs == 0.5 * 50 + 0.25 * 80 + 0.25 * 110
    assert point.macs_ratio == pytest.approx(0.725)
    assert point.accuracy == dict(all=100, many=100, medium=100, few=100)
    always = evaluate_thresholds(tiny(), [-INF, -INF], COST)
    assert always.accuracy == dict(all=75, many=50, medium=100, few=100)
    assert point.probabilities == (0.5, 0.5)


def test_classes_count_equally_unless_images_shall():
    never = [INF, INF]
    images = evaluate_thresholds(tiny('images'), never, COST)
    classes = evaluate_thresholds(tiny('classes'), never, COST)
    assert images.accuracy['all'] == 50
    assert classes.accuracy['all'] == pytest.approx(100 / 3)
    assert images.accuracy['many'] == classes.accuracy['many'] == 100
    shares = evaluate_thresholds(tiny('classes'), [0, 0], COST).shares
    assert shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))


@pytest.mark.parametrize('num_experts', [2, 4])
def test_the_ends_are_one_expert_and_all_experts(num_experts):
    records = random_records(0, num_experts=num_experts)
    cost = random_cost(records)
    for threshold, k in ((INF, 1), (-INF, num_experts)):
        point = evaluate_thresholds(records, [threshold] * (num_experts - 1), cost)
        assert point.mean_experts == k
        assert point.macs == cost.macs[k - 1]
        assert point.shares == tuple(float(i + 1 == k) for i in range(num_experts))
        predictions = np.where(records.correct[:, k - 1], records.labels, 9)
        images, correct = accuracy_by_class(records.labels, predictions, 4)
        expected = shot_accuracy(images, correct, records.class_counts)
        assert point.accuracy['all'] == pytest.approx(expected['class_mean'])
        for group in ('many', 'medium', 'few'):
            assert point.accuracy[group] == pytest.approx(expected[group])


def test_absent_groups_are_left_out():
    point = evaluate_thresholds(tiny(class_counts=(200, 150, 5)), [0, 0], COST)
    assert set(point.accuracy) == {'all', 'many', 'few'}
    records = replace(tiny(class_counts=(200, 150, 5)), many=180, few=2)
    assert set(evaluate_thresholds(records, [0, 0], COST).accuracy) == {
        'all',
        'many',
        'medium',
    }


def test_a_class_without_a_sample_does_not_count():
    records = tiny(class_counts=(200, 50, 5, 5))
    assert evaluate_thresholds(records, [0, 0], COST).accuracy['few'] == 100


def test_thresholds_become_probabilities_and_back():
    y = np.array([-INF, -700, -20, -1, 0, 1, 20, INF])
    p = threshold_to_probability(y)
    assert p[[0, 4, 7]].tolist() == [0, 0.5, 1]
    assert p[3] == pytest.approx(1 / (1 + np.e), rel=1e-15)
    assert p[3] + p[5] == pytest.approx(1)
    assert (np.diff(p) > 0).all()
    np.testing.assert_allclose(probability_to_threshold(p), y, rtol=1e-8)
    p = np.linspace(0, 1, 101)
    np.testing.assert_allclose(
        threshold_to_probability(probability_to_threshold(p)), p, rtol=1e-14
    )


def test_only_infinity_is_always_or_never():
    p = threshold_to_probability([-1000, 1000])
    assert 0 < p[0] < p[1] < 1
    assert np.isfinite(probability_to_threshold(p)).all()


@pytest.mark.parametrize('bad', [-0.1, 1.1, np.nan, INF])
def test_a_probability_is_in_its_range(bad):
    with pytest.raises(ValueError, match='expected 0 to 1, got'):
        probability_to_threshold([0.5, bad])


def test_a_threshold_is_a_number():
    with pytest.raises(ValueError, match='expected numbers, got nan'):
        threshold_to_probability(np.nan)
