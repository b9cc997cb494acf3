import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS

from ride_mm.datasets.batched import take_batch
from ride_mm.structures import LabelBatch

PACK = [dict(type='PackInputs')]
TAIL = dict(imbalance='exp', factor=50, n_max=144)


def build(kind: str, pipeline: list = PACK, **kwargs):
    inner = dict(type='Digits', split='train', pipeline=pipeline)
    return DATASETS.build(dict(type=kind, dataset=inner, **TAIL, **kwargs))


def test_batches_hold_the_images_of_the_long_tailed_dataset():
    batched, single = build('BatchedLongTailed'), build('LongTailed')
    chosen = [398, 0, 17, 17]
    batch = batched.__getitems__(chosen)
    samples = [single[i] for i in chosen]
    assert torch.equal(batch['inputs'], torch.stack([s['inputs'] for s in samples]))
    assert batch['inputs'].is_contiguous()
    for got, sample in zip(batch['data_samples'], samples, strict=True):
        assert torch.equal(got.gt_label, sample['data_samples'].gt_label)
        assert got.sample_idx == sample['data_samples'].sample_idx
    assert batched.hash == single.hash
    assert batched.class_counts.tolist() == single.class_counts.tolist()


@pytest.mark.parametrize('workers', [0, 1])
def test_loader_yields_each_image_once(workers):
    loader = Runner.build_dataloader(
        dict(
            batch_size=64,
            num_workers=workers,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='take_batch'),
            dataset=build('BatchedLongTailed'),
        ),
        seed=0,
    )
    batches = list(loader)
    assert all(isinstance(batch['data_samples'], LabelBatch) for batch in batches)
    places = torch.cat([batch['data_samples'].sample_idx for batch in batches])
    assert sorted(places.tolist()) == list(range(399))
    assert batches[-1]['inputs'].shape == (399 % 64, 3, 16, 16)


def test_held_out_part_shares_nothing():
    parts = {
        part: build('BatchedLongTailed', held_out=dict(per_class=1), part=part)
        for part in ('train', 'val')
    }
    assert not set(parts['train'].indices) & set(parts['val'].indices)
    batch = parts['val'].__getitems__(range(10))
    assert batch['data_samples'].labels.tolist() == list(range(10))


def test_lazy_dataset_loads_at_the_first_batch():
    dataset = build('BatchedLongTailed', lazy_init=True)
    assert len(dataset.__getitems__([0, 1])['inputs']) == 2


def test_augmentation_in_the_pipeline_is_refused():
    pipeline = [dict(type='LTRandomRotation', degrees=15), *PACK]
    with pytest.raises(ValueError, match='got .*LTRandomRotation.*batch_transforms'):
        build('BatchedLongTailed', pipeline)


def test_images_in_files_are_refused(tmp_path):
    folder = tmp_path / 'train' / 'a'
    folder.mkdir(parents=True)
    (folder / '0.png').write_bytes(b'')
    inner = dict(type='CustomDataset', data_root=str(tmp_path), data_prefix='train')
    inner['pipeline'] = PACK
    settings = dict(type='BatchedLongTailed', dataset=inner, check_images='none')
    with pytest.raises(TypeError, match='CustomDataset: expected records with'):
        DATASETS.build(settings)


@pytest.mark.parametrize('collate', ['default_collate', 'pseudo_collate'])
def test_a_batch_is_no_list_of_samples(collate):
    settings = dict(batch_size=2, collate_fn=dict(type=collate))
    sampler = dict(type='DefaultSampler', shuffle=False)
    dataset = build('BatchedLongTailed')
    loader = Runner.build_dataloader(settings | dict(sampler=sampler, dataset=dataset))
    with pytest.raises(TypeError, match='take_batch.* that asks a batch for 0'):
        next(iter(loader))


def test_samples_are_no_batch():
    with pytest.raises(TypeError, match='got a list of samples'):
        take_batch([build('LongTailed')[0]])
