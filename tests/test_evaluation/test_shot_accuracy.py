"""Accuracy by shots: exact figures, absent groups, files, errors."""

import csv

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample

from ride_mm.evaluation import ShotAccuracy, shot_accuracy
from ride_mm.utils.shots import shot_groups

COUNTS = [101, 100, 20, 19]


def evaluate(metric, labels, predictions):
    evaluator = Evaluator([metric])
    evaluator.dataset_meta = dict(classes=('a', 'b', 'c', 'd'))
    samples = [
        DataSample().set_gt_label(label).set_pred_label(prediction)
        for label, prediction in zip(labels, predictions, strict=True)
    ]
    for start in range(0, len(samples), 2):
        evaluator.process(samples[start : start + 2])
    return evaluator.evaluate(len(samples))


def test_the_bounds_of_the_groups():
    groups = shot_groups(COUNTS)
    assert [groups[g].tolist() for g in ('many', 'medium', 'few')] == [[0], [1, 2], [3]]
    with pytest.raises(ValueError, match='got many=10, few=20'):
        shot_groups(COUNTS, many=10, few=20)


def test_figures():
    labels = [0, 0, 0, 0, 1, 1, 2, 3]
    predictions = [0, 0, 0, 1, 1, 0, 2, 0]
    got = evaluate(ShotAccuracy(class_counts=COUNTS), labels, predictions)
    expected = dict(
        all=100 * 5 / 8, class_mean=(75 + 50 + 100 + 0) / 4, many=75, medium=75, few=0
    )
    assert got == {f'shot_accuracy/{k}': pytest.approx(v) for k, v in expected.items()}


def test_an_empty_group_is_absent_and_not_nan():
    got = evaluate(ShotAccuracy(class_counts=[30, 30, 30, 30]), [0, 1], [0, 0])
    assert set(got) == {f'shot_accuracy/{k}' for k in ('all', 'class_mean', 'medium')}
    assert not any(np.isnan(value) for value in got.values())


def test_a_class_without_a_test_image_does_not_count():
    images, correct = np.array([2, 0, 4, 1]), np.array([1, 0, 4, 1])
    got = shot_accuracy(images, correct, COUNTS)
    assert got['medium'] == 100
    assert got['class_mean'] == pytest.approx((50 + 100 + 100) / 3)


def test_thresholds_are_settings():
    metric = ShotAccuracy(many=19, few=15, class_counts=COUNTS)
    got = evaluate(metric, [0, 3], [0, 0])
    assert got['shot_accuracy/many'] == 100
    assert got['shot_accuracy/medium'] == 0


def test_counts_come_from_the_hook_unless_the_config_gave_them():
    told = ShotAccuracy()
    told.set_class_counts(COUNTS)
    assert evaluate(told, [0], [0])['shot_accuracy/many'] == 100
    given = ShotAccuracy(class_counts=[1, 1, 1, 1])
    given.set_class_counts(COUNTS)
    assert evaluate(given, [0], [0])['shot_accuracy/few'] == 100


def test_without_counts_it_says_what_it_needs():
    with pytest.raises(RuntimeError, match='needs the class counts'):
        evaluate(ShotAccuracy(), [0], [0])


def test_a_label_beyond_the_counts_is_refused():
    with pytest.raises(ValueError, match='expected 0 to 1, .* got 3'):
        evaluate(ShotAccuracy(class_counts=[5, 5]), [0, 3], [0, 0])


def test_the_file_has_a_row_per_class(tmp_path):
    path = tmp_path / 'new' / 'classes.csv'
    metric = METRICS.build(
        dict(type='ShotAccuracy', class_counts=COUNTS, csv=str(path))
    )
    evaluate(metric, [0, 0, 1, 2], [0, 1, 1, 0])
    rows = list(csv.DictReader(path.open()))
    assert [row['class_name'] for row in rows] == ['a', 'b', 'c', 'd']
    assert [row['shots'] for row in rows] == ['101', '100', '20', '19']
    assert [row['images'] for row in rows] == ['2', '1', '1', '0']
    assert [row['accuracy'] for row in rows] == ['50.0000', '100.0000', '0.0000', '']


def test_names_that_are_not_those_of_the_counts_are_refused(tmp_path):
    metric = ShotAccuracy(class_counts=[5, 5], csv=str(tmp_path / 'classes.csv'))
    with pytest.raises(ValueError, match='classes of the test set: expected 2, .* 4'):
        evaluate(metric, [0, 1], [0, 0])
    assert not (tmp_path / 'classes.csv').exists()


def expert_samples():
    decisions = [(0, 0, 0), (0, 1, 1), (1, 1, 0), (0, 1, 0)]
    labels = [0, 1, 1, 0]
    for label, decision in zip(labels, decisions, strict=True):
        sample = DataSample().set_gt_label(label)
        sample.set_field(torch.tensor(decision), 'expert_pred_label')
        yield sample


def test_experts_accuracy_and_disagreement():
    evaluator = Evaluator([METRICS.build(dict(type='ExpertAccuracy'))])
    evaluator.process(list(expert_samples()))
    got = evaluator.evaluate(4)
    expected = {
        'accuracy_1': 75,
        'accuracy_2': 75,
        'accuracy_3': 75,
        'disagreement_1-2': 50,
        'disagreement_1-3': 50,
        'disagreement_2-3': 50,
        'disagreement': 50,
    }
    assert got == {f'expert/{k}': pytest.approx(v) for k, v in expected.items()}


def test_experts_need_a_head_with_experts():
    evaluator = Evaluator([METRICS.build(dict(type='ExpertAccuracy'))])
    with pytest.raises(ValueError, match='expected expert_pred_label'):
        evaluator.process([DataSample().set_gt_label(0).set_pred_label(0)])


def test_an_average_over_views_counts_by_its_score():
    """Its label is that of the first view, which the average may overrule."""
    metric = ShotAccuracy(class_counts=[200, 5])
    sample = DataSample().set_gt_label(1).set_pred_label(0)
    sample.set_pred_score(torch.tensor([0.4, 0.6]))
    metric.process(None, [sample.to_dict()])
    assert metric.compute_metrics(metric.results)['all'] == 100
