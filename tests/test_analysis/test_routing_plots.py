import numpy as np
import pytest

from ride_mm.analysis.routing import (
    RoutingCost,
    choose_thresholds,
    evaluate_thresholds,
    plot_routing,
    plots,
    routing_records,
    sweep_one_threshold,
    sweep_router_thresholds,
)

COST = RoutingCost((5, 8, 11), plain_macs=10)


def records(class_counts=(300, 50, 5)):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    margin = rng.normal(0, 1, (60, 1)) + rng.normal(0.3, 0.7, (60, 3))
    return routing_records(labels, margin > 0, -margin[:, :2], class_counts)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw the given points; returns the figure."""
    figures = []

    class Recorded(plots.Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            figures.append(self)

    monkeypatch.setattr(plots, 'Figure', Recorded)

    def draw(*args, **kwargs):
        path = tmp_path / 'picture.png'
        plot_routing(path, *args, **kwargs)
        assert path.read_bytes().startswith(b'\x89PNG')
        return figures[-1]

    return draw


def names(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_accuracy_stands_over_experts_and_over_cost(drawn):
    sweep = sweep_one_threshold(records(), COST, points=7)
    frontier = sweep_router_thresholds(records(), COST, points=7)
    left, right = drawn(sweep, frontier).axes
    assert names(left) == ['all', 'many-shot', 'medium-shot', 'few-shot']
    assert names(right)[:2] == ['one threshold', 'one for each router']
    for line, group in zip(left.lines, ('all', 'many', 'medium', 'few'), strict=True):
        assert line.get_xdata().tolist() == [p.mean_experts for p in sweep]
        assert line.get_ydata().tolist() == [p.accuracy[group] for p in sweep]
    for line, points in zip(right.lines, (sweep, frontier), strict=False):
        assert line.get_xdata().tolist() == [p.macs_ratio for p in points]
        assert line.get_ydata().tolist() == [p.accuracy['all'] for p in points]
    assert '(%)' in left.get_ylabel()
    assert 'relative to the plain network' in right.get_xlabel()


def test_all_experts_are_a_line(drawn):
    sweep = sweep_one_threshold(records(), COST, points=3)
    _, right = drawn(sweep).axes
    every = 100 * records().correct[:, 2].mean()
    assert names(right)[1] == f'all experts: {every:.1f} % at 1.10x'
    np.testing.assert_allclose(right.lines[1].get_ydata(), every)


def test_points_are_marked_in_both_panels(drawn):
    sweep = sweep_one_threshold(records(), COST, points=3)
    reference = evaluate_thresholds(records(), [0, 0], COST)
    chosen = choose_thresholds(records(), COST, mean_experts=2, per_router=True)
    left, right = drawn(sweep, reference=reference, chosen=chosen).axes
    for point, marker, name in (
        (reference, 'o', 'checkpoint'),
        (chosen, '*', 'chosen'),
    ):
        marks = [line for line in left.lines if line.get_marker() == marker]
        assert [mark.get_xdata()[0] for mark in marks] == [point.mean_experts] * 4
        assert [mark.get_ydata()[0] for mark in marks] == list(point.accuracy.values())
        (mark,) = (line for line in right.lines if line.get_marker() == marker)
        assert mark.get_xydata().tolist() == [[point.macs_ratio, point.accuracy['all']]]
        text = f'{point.accuracy["all"]:.1f} % at {point.macs_ratio:.2f}x'
        assert f'{name}: {text}' in names(right)


def test_absent_groups_are_not_drawn(drawn):
    some = records(class_counts=(300, 200, 150))
    chosen = choose_thresholds(some, COST, mean_experts=2)
    left, _ = drawn(sweep_one_threshold(some, COST), chosen=chosen).axes
    assert names(left) == ['all', 'many-shot']
    assert len(left.lines) == 4


def test_a_sweep_must_reach_all_experts(tmp_path):
    sweep = sweep_one_threshold(records(), COST)
    for points, got in (([], 'no point'), (sweep[:-1], r'got \(0')):
        with pytest.raises(ValueError, match=f'ends with all experts.*{got}'):
            plot_routing(tmp_path / 'picture.png', points)
    assert not list(tmp_path.iterdir())
