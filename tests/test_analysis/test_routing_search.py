from dataclasses import replace

import numpy as np
import pytest
from routing_cases import INF, random_cost, random_records, same, tiny

from ride_mm.analysis.routing import (
    RoutingCost,
    choose_thresholds,
    evaluate_thresholds,
    experts_used,
    probability_to_threshold,
    search,
)
from ride_mm.analysis.routing.curves import threshold_at, thresholds_at_shares
from ride_mm.analysis.routing.search import (
    best_within,
    cheapest_reaching,
    continuing_shares,
    search_one_threshold,
    search_router_thresholds,
)


@pytest.mark.parametrize('num_experts', [3, 4, 5])
@pytest.mark.parametrize('goal', [best_within, cheapest_reaching])
def test_a_coarse_search_comes_close_to_an_exhaustive_one(
    num_experts, goal, monkeypatch
):
    n = {3: 90, 4: 40, 5: 24}[num_experts]
    records = random_records(7, n, num_experts, weighting='images')
    cost = np.arange(1.0, num_experts + 1)
    if goal is best_within:
        levels = 1 + np.array([0.3, 0.5, 0.7]) * (num_experts - 1)
    else:
        levels = 100 * records.correct[:, -1].mean() - np.array([1, 4, 8])
    results = {}
    for name, find, combinations in (
        ('one', search_one_threshold, 0),
        ('coarse', search_router_thresholds, 4 ** (num_experts - 2)),
        ('full', search_router_thresholds, 10**5),
    ):
        monkeypatch.setattr(search, 'COMBINATIONS', combinations)
        points = [
            evaluate_thresholds(records, t, RoutingCost(cost, 1))
            for t in find(records, cost, goal, levels)
        ]
        results[name] = np.array(
            [p.accuracy['all'] if goal is best_within else -p.macs for p in points]
        )
    assert (results['coarse'] >= results['one'] - 1e-9).all()
    assert (results['coarse'] <= results['full'] + 1e-9).all()
    # One sample of accuracy, or a tenth of an expert.
    near = 100 / n if goal is best_within else 0.1
    assert (results['coarse'] >= results['full'] - near - 1e-9).all()
    assert (results['full'] > results['one']).any()


def test_thresholds_lie_midway_and_bear_rounding():
    records = random_records(8, 200)
    cost = random_cost(records)
    chosen = choose_thresholds(records, cost, mean_experts=1.8, per_router=True)
    for i, threshold in enumerate(chosen.thresholds):
        scores = np.sort(records.scores[:, i])
        if i == 1:  # between those that arrive
            arriving = records.scores[:, 0] > chosen.thresholds[0]
            scores = np.sort(records.scores[arriving, 1])
        above = np.searchsorted(scores, threshold)
        assert threshold == pytest.approx((scores[above - 1] + scores[above]) / 2)
    gaps = [np.abs(records.scores[:, i] - t) for i, t in enumerate(chosen.thresholds)]
    assert min(gap.min() for gap in gaps) > 1e-6
    rounded = replace(records, scores=records.scores.astype(np.float32))
    same(chosen, evaluate_thresholds(rounded, chosen.thresholds, cost))
    there_and_back = probability_to_threshold(chosen.probabilities)
    used = experts_used(records.scores, there_and_back)
    assert (used == experts_used(records.scores, chosen.thresholds)).all()


@pytest.mark.parametrize('kind', [np.float32, np.float64])
def test_a_threshold_fits_between_adjacent_numbers(kind):
    below = kind(0.7)
    scores = np.array([below], kind)
    for _ in range(5):
        scores = np.append(scores, np.nextafter(scores[-1], kind(1)))
    scores = scores[::-1]  # descending
    for point in range(1, len(scores)):
        threshold = kind(threshold_at(scores.astype(np.float64), point))
        assert (scores > threshold).sum() == point
    assert threshold_at(scores, 0) == INF
    assert threshold_at(scores, len(scores)) == -INF


def test_shares_are_those_of_the_arriving_samples():
    scores = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 0.0])
    weights = np.array([1, 1, 1, 1, 4, 2.0])
    shares = np.array([0, 0.28, 0.6, 1])
    # Passing: 0, .1, .2, .6, .7, .8, 1 of the weight.
    assert thresholds_at_shares(scores, weights, shares) == [INF, 3.5, 2.5, -INF]
    # All there are, if the shares are as many, even next to none.
    shares = np.array([0, 0.1, 0.2, 1])
    some = thresholds_at_shares(scores[:2], np.array([1e6, 1]), shares)
    assert some == [INF, 3, -INF]
    assert thresholds_at_shares(scores[:0], weights[:0], shares) == [INF]
    records = tiny()
    assert continuing_shares(records, (0.0, 0.0)).tolist() == [0.5, 0.5]
    assert continuing_shares(records, (INF, 0.0)).tolist() == [0, 0]
