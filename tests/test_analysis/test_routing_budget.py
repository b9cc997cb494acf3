from dataclasses import replace

import numpy as np
import pytest
from routing_cases import COST, INF, random_cost, random_records, same, settings, tiny

from ride_mm.analysis.routing import (
    RoutingCost,
    choose_thresholds,
    evaluate_thresholds,
    experts_used,
    pareto_frontier,
    routing_records,
    sweep_one_threshold,
    sweep_router_thresholds,
)

BUDGETS = ('mean_experts', 'macs_ratio', 'accuracy_drop')


def repeated(records):
    """Repeat samples until each class has equally many, each image counting once."""
    images = np.bincount(records.labels)
    times = np.lcm.reduce(images) // images[records.labels]
    rows = np.repeat(np.arange(len(records.labels)), times)
    return routing_records(
        records.labels[rows],
        records.correct[rows],
        records.scores[rows],
        records.class_counts,
        'images',
    )


def test_weighing_classes_equals_repeating_samples():
    records = random_records(3, 30)
    again = repeated(records)
    assert len(again.labels) > 30
    cost = random_cost(records)
    same(
        evaluate_thresholds(records, [0.1, -0.2], cost),
        evaluate_thresholds(again, [0.1, -0.2], cost),
    )
    for per_router in (False, True):
        chosen, expected = (
            choose_thresholds(r, cost, mean_experts=1.7, per_router=per_router)
            for r in (records, again)
        )
        same(chosen, expected)


# Sweeps


@pytest.mark.parametrize('num_experts', [2, 3, 5])
def test_one_threshold_is_swept_evenly_from_end_to_end(num_experts):
    records = random_records(0, 500, num_experts)
    sweep = sweep_one_threshold(records, random_cost(records), points=11)
    assert len(sweep) == 11
    assert sweep[0].thresholds == (INF,) * (num_experts - 1)
    assert sweep[-1].thresholds == (-INF,) * (num_experts - 1)
    experts = [point.mean_experts for point in sweep]
    # Half of the most that the weight of one sample can move the mean.
    width = records.weights.max() * (num_experts - 1) / 2 + 1e-9
    np.testing.assert_allclose(experts, np.linspace(1, num_experts, 11), atol=width)
    assert (np.diff([point.macs for point in sweep]) > 0).all()
    for point in sweep:
        assert len(set(point.thresholds)) == 1


def test_tied_scores_move_together():
    records = routing_records(
        [0, 0, 0, 0], np.ones((4, 2), bool), [[1.0], [1.0], [1.0], [2.0]], [5]
    )
    sweep = sweep_one_threshold(records, RoutingCost((1, 2), 1), points=100)
    assert [point.mean_experts for point in sweep] == [1, 1.25, 2]
    assert [point.thresholds for point in sweep] == [(INF,), (1.5,), (-INF,)]


def dominated(point, others):
    return any(
        other.macs <= point.macs
        and other.accuracy['all'] >= point.accuracy['all']
        and (other.macs, other.accuracy['all']) != (point.macs, point.accuracy['all'])
        for other in others
    )


def test_the_pareto_frontier_is_what_nothing_dominates():
    records = random_records(5, 12, weighting='images')
    cost = random_cost(records)
    points = [evaluate_thresholds(records, t, cost) for t in settings(records, False)]
    kept = pareto_frontier(points)
    best = {(p.macs, p.accuracy['all']) for p in points if not dominated(p, points)}
    assert [(p.macs, p.accuracy['all']) for p in kept] == sorted(best)
    assert 1 < len(kept) < len(points)


@pytest.mark.parametrize('num_experts', [2, 3, 4])
def test_the_frontier_holds_the_best_of_every_budget(num_experts):
    records = random_records(2, 9, num_experts)
    cost = random_cost(records)
    frontier = sweep_router_thresholds(records, cost, points=200)
    every = [evaluate_thresholds(records, t, cost) for t in settings(records, False)]
    budgets = np.linspace(cost.macs[0], cost.macs[-1], 200)
    for budget in budgets:
        best = max(p.accuracy['all'] for p in every if p.macs <= budget + 1e-9)
        got = max(p.accuracy['all'] for p in frontier if p.macs <= budget + 1e-9)
        assert got == pytest.approx(best)
    assert frontier[0].mean_experts == 1
    assert not any(dominated(point, frontier) for point in frontier)


@pytest.mark.parametrize('num_experts', [3, 4, 6])
def test_the_frontier_is_above_one_threshold(num_experts):
    records = random_records(4, 300, num_experts)
    cost = random_cost(records)
    frontier = sweep_router_thresholds(records, cost, points=9)
    budgets = np.linspace(*cost.ratios[[0, -1]], 9)
    gains = []
    for budget in budgets:
        one = choose_thresholds(records, cost, macs_ratio=budget)
        best = max(p.accuracy['all'] for p in frontier if p.macs_ratio <= budget + 1e-9)
        gains.append(best - one.accuracy['all'])
    assert min(gains) > -1e-9
    assert max(gains) > 0.1


def test_a_sweep_needs_two_points():
    for sweep in (sweep_one_threshold, sweep_router_thresholds):
        with pytest.raises(ValueError, match='at least 2, got 1'):
            sweep(tiny(), COST, points=1)


# Choosing


def oracle(every, full, name, budget):
    """Choose from all settings; returns accuracy and what the budget limits."""
    limited = 'macs_ratio' if name == 'accuracy_drop' else name
    pairs = [(p.accuracy['all'], getattr(p, limited)) for p in every]
    if name == 'accuracy_drop':
        target = full.accuracy['all'] - budget - 1e-9
        cheapest = min(cost for accuracy, cost in pairs if accuracy >= target)
        return max(a for a, cost in pairs if cost <= cheapest + 1e-9), cheapest
    within = [pair for pair in pairs if pair[1] <= budget + 1e-9]
    best = max(accuracy for accuracy, _ in within)
    return best, min(cost for accuracy, cost in within if accuracy >= best - 1e-9)


@pytest.mark.parametrize('name', BUDGETS)
@pytest.mark.parametrize('per_router', [False, True])
@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize(('num_experts', 'n'), [(2, 15), (3, 12), (4, 8)])
def test_the_choice_is_the_best_of_all_settings(name, per_router, tied, num_experts, n):
    for seed in range(3):
        records = random_records(seed, n, num_experts, tied)
        cost = random_cost(records, seed)
        every = [
            evaluate_thresholds(records, t, cost)
            for t in settings(records, not per_router)
        ]
        (full,) = (p for p in every if p.thresholds == (-INF,) * (num_experts - 1))
        if name == 'accuracy_drop':
            best = max(p.accuracy['all'] for p in every)
            drop = full.accuracy['all'] - best
            budgets = [drop, (drop + 5) / 2, 0, 5, 20, 100]
            # Exactly what some settings lose.
            some = every[:: len(every) // 4]
            budgets += [full.accuracy['all'] - p.accuracy['all'] for p in some]
        else:
            ends = [1, num_experts] if name == 'mean_experts' else cost.ratios[[0, -1]]
            budgets = np.linspace(*ends, 7)
        for budget in budgets:
            chosen = choose_thresholds(
                records, cost, per_router=per_router, **{name: budget}
            )
            limited = 'macs_ratio' if name == 'accuracy_drop' else name
            got = chosen.accuracy['all'], getattr(chosen, limited)
            assert got == pytest.approx(oracle(every, full, name, budget))
            if name == 'accuracy_drop':
                assert chosen.accuracy['all'] >= full.accuracy['all'] - budget - 1e-9
            else:
                assert getattr(chosen, name) <= budget + 1e-9


def test_a_budget_is_used_as_fully_as_the_data_allow():
    rng = np.random.default_rng(0)
    n = 1000
    # Each further expert mends its share of the samples, so more is always better.
    level = rng.integers(1, 4, n)
    correct = level[:, None] <= np.arange(1, 4)
    records = routing_records(
        np.zeros(n, int), correct, level[:, None] + rng.normal(0, 0.3, (n, 2)), [9]
    )
    for per_router in (False, True):
        for budget in (1.1, 1.5, 1.9):
            chosen = choose_thresholds(
                records, COST, mean_experts=budget, per_router=per_router
            )
            assert budget - 2 / n - 1e-9 <= chosen.mean_experts <= budget + 1e-9


@pytest.mark.parametrize('per_router', [False, True])
def test_of_equally_accurate_settings_the_cheapest_is_chosen(per_router):
    records = replace(tiny(), correct=np.ones((4, 3), bool))
    for budget in (dict(mean_experts=2.5), dict(macs_ratio=1), dict(accuracy_drop=0)):
        chosen = choose_thresholds(records, COST, per_router=per_router, **budget)
        assert chosen.mean_experts == 1
        assert chosen.thresholds[0] == INF


def test_ties_are_told_exactly():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        weights = rng.integers(1, 4, 16)
        correct = rng.random((16, 3)) < 0.5  # experts mend as much as they spoil
        records = replace(random_records(seed, 16), weights=weights, correct=correct)
        cost = RoutingCost((1, 2, 3), 1)

        def totals(thresholds, records=records, weights=weights):
            used = experts_used(records.scores, thresholds)
            right = records.correct[np.arange(16), used - 1]
            return int(weights @ right), -int(weights @ used)

        for per_router in (False, True):
            chosen = choose_thresholds(
                records, cost, mean_experts=3, per_router=per_router
            )
            every = map(totals, settings(records, shared=not per_router))
            assert totals(chosen.thresholds) == max(every)


@pytest.mark.parametrize('per_router', [False, True])
def test_the_order_of_the_samples_does_not_matter(per_router):
    for tied in (False, True):
        records = random_records(6, 150, tied=tied)
        order = np.random.default_rng(0).permutation(150)
        rows = ('labels', 'correct', 'scores', 'weights')
        shuffled = replace(records, **{r: getattr(records, r)[order] for r in rows})
        cost = random_cost(records)
        for budget in (dict(mean_experts=1.6), dict(accuracy_drop=2.0)):
            same(
                choose_thresholds(records, cost, per_router=per_router, **budget),
                choose_thresholds(shuffled, cost, per_router=per_router, **budget),
            )


def test_routing_may_be_better_than_all_experts():
    chosen = choose_thresholds(tiny(), COST, accuracy_drop=-25)
    assert chosen.accuracy['all'] == 100
    assert chosen.thresholds == (0, 0)


# Errors


@pytest.mark.parametrize('per_router', [False, True])
@pytest.mark.parametrize(
    ('budget', 'message'),
    [
        (dict(mean_experts=0.9), r'mean_experts: expected 1.0 .* to 3.0 .* got 0.9'),
        (dict(mean_experts=3.1), r'mean_experts: expected 1.0 .* to 3.0 .* got 3.1'),
        (dict(mean_experts=np.nan), 'mean_experts: expected .* got nan'),
        (dict(macs_ratio=0.4), r'macs_ratio: expected 0.5 .* to 1.1 .* got 0.4'),
        (dict(macs_ratio=1.2), r'macs_ratio: expected 0.5 .* to 1.1 .* got 1.2'),
        (dict(macs_ratio=np.nan), 'macs_ratio: expected .* got nan'),
        (dict(accuracy_drop=-26), 'at least -25.0 points, .* 75.00 % .* got -26'),
        (dict(accuracy_drop=np.nan), 'at least -25.0 points, .* got nan'),
        (dict(accuracy_drop=-INF), 'at least -25.0 points, .* got -inf'),
        (dict(), 'expected one of .* got None'),
        (dict(mean_experts=2, accuracy_drop=1), 'expected one of .* got .*drop'),
    ],
)
def test_what_cannot_be_met_is_refused(budget, message, per_router):
    with pytest.raises(ValueError, match=message):
        choose_thresholds(tiny(), COST, per_router=per_router, **budget)


def test_the_bounds_of_a_message_can_be_met():
    cost = RoutingCost((1, 2, 3), plain_macs=1.7)
    with pytest.raises(ValueError, match=r'expected 0.5883 .* to 1.7647 '):
        choose_thresholds(tiny(), cost, macs_ratio=9)
    for ratio in (0.5883, 1.7647):
        assert choose_thresholds(tiny(), cost, macs_ratio=ratio).macs_ratio <= ratio


def test_costs_must_fit_the_experts():
    cost = RoutingCost((1, 2), 1)
    for function in (
        sweep_one_threshold,
        sweep_router_thresholds,
        lambda r, c: choose_thresholds(r, c, mean_experts=2),
        lambda r, c: evaluate_thresholds(r, [0, 0], c),
    ):
        with pytest.raises(ValueError, match='expected 3 costs, .* got 2'):
            function(tiny(), cost)
