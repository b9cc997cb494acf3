"""The preprocessor gives the same with labels in a list and in one tensor."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ride_mm.structures import LabelBatch, batch_targets

IMAGES = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
LABELS = torch.tensor([1, 0, 2, 1])
NORMALIZE = dict(mean=[10.0, 20.0, 30.0], std=[2.0, 3.0, 4.0], to_rgb=True)
MIXING = dict(augments=dict(type='Mixup', alpha=0.8))


def build(**kwargs):
    settings = dict(type='LTDataPreprocessor', num_classes=3, **NORMALIZE)
    return MODELS.build(settings | kwargs)


def as_batch() -> dict:
    places = torch.arange(4)
    return dict(inputs=IMAGES.clone(), data_samples=LabelBatch(LABELS, places))


def as_list() -> dict:
    samples = [DataSample().set_gt_label(label) for label in LABELS.tolist()]
    return dict(inputs=list(IMAGES.clone()), data_samples=samples)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(
    'settings',
    [{}, dict(to_onehot=True), dict(batch_augments=MIXING)],
    ids=['hard', 'one-hot', 'mixup'],
)
def test_both_forms_of_labels_give_the_same(settings, training):
    outputs = []
    for data in (as_batch(), as_list()):
        preprocessor = build(**settings)
        torch.manual_seed(0)
        np.random.seed(0)
        outputs.append(preprocessor(data, training))
    first, second = outputs
    assert isinstance(first['data_samples'], LabelBatch)
    assert torch.equal(first['inputs'], second['inputs'])
    targets = [batch_targets(output['data_samples']) for output in outputs]
    assert torch.equal(*targets)
    assert targets[0].ndim == (2 if settings else 1)


def test_transforms_run_in_training_only_and_in_order():
    flips = dict(type='BatchRandomFlip', prob=1.0)
    crops = dict(type='BatchRandomCrop', crop_size=8)
    preprocessor = build(batch_transforms=[crops, flips])
    plain = build()
    assert torch.equal(preprocessor(as_batch())['inputs'], plain(as_batch())['inputs'])
    for data in (as_batch(), as_list()):
        mirrored = preprocessor(data, True)['inputs']
        assert torch.equal(mirrored, plain(as_batch())['inputs'].flip(-1))


def test_values_are_normalized_in_the_order_rgb():
    got = build()(as_batch())['inputs']
    expected = IMAGES.flip(1).float() - torch.tensor([10.0, 20, 30])[:, None, None]
    assert torch.equal(got, expected / torch.tensor([2.0, 3, 4])[:, None, None])


def test_images_of_several_sizes_are_refused():
    preprocessor = build(batch_transforms=[dict(type='BatchRandomFlip')])
    data = dict(inputs=[IMAGES[0], IMAGES[1, :, :4]], data_samples=None)
    with pytest.raises(ValueError, match='images of one size, got .3, 4, 8., .3, 8, 8'):
        preprocessor(data, True)
