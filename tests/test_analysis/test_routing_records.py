import numpy as np
import pytest
from routing_cases import INF, tiny

from ride_mm.analysis.routing import RoutingCost, RoutingRecords, sample_weights

FIELDS = dict(
    labels=[0, 1],
    correct=np.ones((2, 3), bool),
    scores=np.zeros((2, 2)),
    class_counts=[5, 4],
    weights=[1.0, 1.0],
)


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('labels', [0, 2], 'labels: expected 0 to 1, .* got 0 to 2'),
        ('labels', [0, -1], 'labels: expected 0 to 1, .* got -1 to 0'),
        ('labels', [0.0, 1.0], 'labels: expected a row of integers, got float64'),
        ('labels', np.zeros(0, int), 'labels: expected at least one sample'),
        ('labels', [0, 1, 1], r'correct: expected shape \(3, 3\), got \(2, 3\)'),
        ('correct', np.ones((2, 3)), 'correct: expected bool .* got float64'),
        ('correct', np.ones((2, 1), bool), r'at least 2 experts, got bool .*2, 1'),
        ('scores', np.zeros((2, 3)), r'scores: expected shape \(2, 2\), got \(2, 3\)'),
        ('scores', [[0, 0], [np.nan, 1]], r'scores: .* finite.* nan \(1 of 4'),
        ('scores', [[0, 0], [0, INF]], r'scores: .* finite.* inf \(1 of 4'),
        ('class_counts', [5, -4], 'class_counts: expected none below 0, got -4'),
        ('class_counts', [[5, 4]], r'class_counts: .* got int64 of shape \(1, 2\)'),
        ('weights', [1.0], r'weights: expected shape \(2,\), got \(1,\)'),
        ('weights', [1.0, 0.0], 'weights: expected all above 0, got 0.0'),
        ('weights', [1.0, np.nan], 'weights: expected finite numbers, got nan'),
        ('few', 102, 'must not overlap'),
    ],
)
def test_records_are_checked(name, value, message):
    assert RoutingRecords(**FIELDS).num_experts == 3
    with pytest.raises(ValueError, match=message):
        RoutingRecords(**{**FIELDS, name: value})


def test_weights_of_samples():
    labels = np.array([3, 3, 3, 0])
    assert sample_weights(labels).tolist() == [1 / 3, 1 / 3, 1 / 3, 1]
    assert sample_weights(labels, 'images').tolist() == [1] * 4
    with pytest.raises(ValueError, match="'classes', 'images'.* got 'class'"):
        sample_weights(labels, 'class')
    assert tiny('classes').weights.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ('macs', 'plain', 'message'),
    [
        ((1, 1), 1, r'increase with .* got \(1, 1\)'),
        ((0, 1), 1, 'above 0'),
        ((1, INF), 1, 'finite'),
        ((1, np.nan), 1, 'finite'),
        ((1, 2), 0, 'plain_macs: expected a finite cost above 0, got 0'),
        ((1, 2), np.nan, 'plain_macs: .* got nan'),
    ],
)
def test_costs_are_checked(macs, plain, message):
    with pytest.raises(ValueError, match=message):
        RoutingCost(macs, plain)
