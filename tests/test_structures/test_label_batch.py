import pytest
import torch
from mmpretrain.structures import DataSample

from ride_mm.structures import LabelBatch, batch_targets, on_cpu

LABELS = torch.tensor([3, 0, 2])
PLACES = torch.tensor([10, 20, 30])


def test_reads_like_a_list_of_samples():
    batch = LabelBatch(LABELS, PLACES)
    assert len(batch) == 3
    assert [sample.gt_label.item() for sample in batch] == [3, 0, 2]
    assert [sample.sample_idx for sample in batch] == [10, 20, 30]
    assert isinstance(batch[-1], DataSample)
    assert batch[-1].gt_label.tolist() == [2]
    assert 'gt_score' not in batch[0]
    with pytest.raises(IndexError):
        batch[3]


def test_slices_stay_batches():
    batch = LabelBatch(LABELS, PLACES).with_scores(torch.eye(4)[LABELS])[1:]
    assert isinstance(batch, LabelBatch)
    assert batch.labels.tolist() == [0, 2]
    assert batch[0].gt_score.tolist() == [1, 0, 0, 0]


def test_targets_equal_those_of_samples():
    hard = LabelBatch(LABELS, PLACES)
    soft = hard.with_scores(torch.rand(3, 4))
    for batch in (hard, soft):
        assert torch.equal(batch_targets(batch), batch_targets(list(batch)))
    assert batch_targets(hard).tolist() == [3, 0, 2]
    assert batch_targets(soft) is soft.scores


def test_moves_all_parts():
    batch = LabelBatch(LABELS, PLACES, torch.rand(3, 4)).to(torch.device('meta'))
    parts = batch.labels, batch.sample_idx, batch.scores
    assert {part.device.type for part in parts} == {'meta'}


def test_bad_input_is_told():
    with pytest.raises(ValueError, match=r'got \(3,\) and \(2,\)'):
        LabelBatch(LABELS, PLACES[:2])
    with pytest.raises(ValueError, match=r'expected \(3, C\), got \(2, 4\)'):
        LabelBatch(LABELS, PLACES, torch.rand(2, 4))


def test_goes_back_to_the_cpu_and_leaves_other_samples_alone():
    batch = on_cpu(LabelBatch(LABELS, PLACES))
    assert batch.labels.device.type == batch.sample_idx.device.type == 'cpu'
    samples = [DataSample(), None]
    assert on_cpu(samples) is samples
    assert on_cpu(None) is None
