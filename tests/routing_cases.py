"""Records of routed models for tests."""

import itertools

import numpy as np
import pytest

from ride_mm.analysis.routing import RoutingCost, routing_records

INF = float('inf')


def tiny(weighting='images', class_counts=(200, 50, 5)):
    """Four samples, three experts: two of class 0, one each of classes 1 and 2."""
    return routing_records(
        labels=[0, 0, 1, 2],
        correct=np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 1]], bool),
        scores=[[-3.0, -3.0], [-1.0, 2.0], [1.0, -2.0], [3.0, 1.0]],
        class_counts=class_counts,
        weighting=weighting,
    )


COST = RoutingCost(macs=(50, 80, 110), plain_macs=100)


def random_records(seed, n=40, num_experts=3, tied=False, weighting='classes'):
    """Records with routers that know a little about the samples."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, n, p=[0.5, 0.3, 0.1, 0.1])
    margin = rng.normal(0, 1, (n, 1)) + rng.normal(0, 0.7, (n, num_experts))
    margin += 0.3 * np.arange(num_experts)
    scores = -margin[:, :-1] + rng.normal(0, 0.7, (n, num_experts - 1))
    scores = np.round(2 * scores) / 2 if tied else scores
    counts = [300, 100, 20, 3]
    return routing_records(labels, margin > 0, scores, counts, weighting)


def random_cost(records, seed=0):
    steps = np.random.default_rng(seed).uniform(0.5, 2, records.num_experts)
    return RoutingCost(np.cumsum(steps), plain_macs=1.7)


def settings(records, shared):
    """All distinct settings of the thresholds, in the order of the routers."""
    every = []
    for i in range(records.num_experts - 1):
        scores = records.scores if shared else records.scores[:, i]
        scores = np.unique(scores)
        middles = (scores[1:] + scores[:-1]) / 2
        every.append([-INF, *middles.tolist(), INF])
    if shared:
        return [(t,) * (records.num_experts - 1) for t in every[0]]
    return list(itertools.product(*every))


def same(one, other):
    assert one.thresholds == other.thresholds
    for name in ('mean_experts', 'macs', 'macs_ratio', 'shares', 'accuracy'):
        assert getattr(one, name) == pytest.approx(getattr(other, name))
