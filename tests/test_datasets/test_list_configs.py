"""The bases of ImageNet-LT, iNaturalist 2018 and Places-LT on made-up folders.

``tests/data/lt_splits/class_counts.npz`` holds the published class frequencies, from
https://github.com/zhihou7/BatchFormer (long-tailed_recognition/BalancedSoftmax).
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, METRICS, MODELS, TRANSFORMS
from PIL import Image, ImageEnhance

from ride_mm.datasets import LTListFile
from ride_mm.datasets.list_file import counts_hash
from ride_mm.utils import resource_root
from ride_mm.utils.shots import shot_groups

COUNTS = Path(__file__).parents[1] / 'data/lt_splits/class_counts.npz'
# Images, classes, images of the largest and smallest class, many / medium / few.
FACTS = {
    'imagenet_lt': (115846, 1000, 1280, 5, [385, 479, 136]),
    'inat2018': (437513, 8142, 1000, 2, [842, 4076, 3224]),
    'places_lt': (62500, 365, 4980, 5, [131, 163, 71]),
}
IMAGES = {'imagenet_lt': (20, 50), 'inat2018': (3, 3), 'places_lt': (20, 100)}
LOADERS = 'train_dataloader', 'val_dataloader', 'test_dataloader'
# Folders that the paths of the published training and test lists start with.
LAYOUT = {
    'imagenet_lt': ('train/n01440764', 'val/n01440764'),
    'inat2018': ('train_val2018/Aves/2820', 'train_val2018/Aves/2820'),
    'places_lt': ('train/airfield', 'val/airfield'),
}


def load(name):
    config = Config.fromfile(resource_root() / f'configs/_base_/datasets/{name}.py')
    init_default_scope('mmpretrain')
    return config


def published(name):
    return np.load(COUNTS)[name].astype(int)


@pytest.mark.parametrize('name', FACTS)
def test_expected_counts_are_the_published(name):
    counts = published(name)
    images, classes, largest, smallest, groups = FACTS[name]
    assert (counts.sum(), len(counts)) == (images, classes)
    assert (counts.max(), counts.min()) == (largest, smallest)
    assert [len(group) for group in shot_groups(counts).values()] == groups
    config = load(name)
    train = config.train_dataloader.dataset.dataset
    assert train.expected_counts == counts_hash(counts)
    assert config.data_preprocessor.num_classes == classes
    for loader, per_class in zip(LOADERS[1:], IMAGES[name], strict=True):
        expected = config[loader].dataset.expected_counts
        assert expected == counts_hash([per_class] * classes)


@pytest.mark.parametrize('name', ['imagenet_lt', 'places_lt'])
def test_a_list_with_the_published_counts_passes_and_no_other(name, tmp_path):
    settings = load(name).train_dataloader.dataset.dataset.to_dict()
    settings.update(data_root=str(tmp_path), probe=0, pipeline=[])
    labels = np.repeat(np.arange(FACTS[name][1]), published(name)).tolist()
    lines = [f'train/{i}.jpg {label}' for i, label in enumerate(labels)]
    file = tmp_path / settings['ann_file']
    file.write_text('\n'.join(lines))
    dataset = DATASETS.build(settings)
    assert isinstance(dataset, LTListFile)
    counts = np.bincount(dataset.get_gt_labels())
    np.testing.assert_array_equal(counts, published(name))
    file.write_text('\n'.join(lines[1:]))
    with pytest.raises(ValueError, match=f'got .*: {len(lines) - 1:,} images'):
        DATASETS.build(settings)


def test_the_published_training_list_of_places_is_expected():
    # Of Places_LT_train.txt, https://github.com/facebookresearch/classifier-balancing.
    config = load('places_lt')
    assert config.train_dataloader.dataset.expected_hash == '210cbb7e3840b625'


def photo(path, size, mode='RGB', orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    noise = np.random.RandomState(width).randint(0, 256, (height // 8, width // 8, 3))
    image = Image.fromarray(noise.astype(np.uint8)).resize(size, Image.BICUBIC)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.convert(mode).save(path, exif=exif)


@pytest.fixture
def built(request, tmp_path):
    """Config and data sets of a base on a folder of five images in its layout."""
    name = request.param
    config = load(name)
    train, test = LAYOUT[name]
    kinds = {
        'wide.jpg': dict(size=(301, 280)),
        'tall one.jpg': dict(size=(200, 333)),
        'grey.jpg': dict(size=(260, 256), mode='L'),
        'turned.jpg': dict(size=(320, 241), orientation=6),
        'palette.png': dict(size=(259, 259), mode='P'),
    }
    for folder in {train, test}:
        for file, kind in kinds.items():
            photo(tmp_path / folder / file, **kind)
    datasets = {}
    for loader in LOADERS:
        dataset = config[loader].dataset
        is_train = loader == 'train_dataloader'
        if is_train:
            dataset.update(expected_hash=None, allow_empty=True)
        inner = dataset.dataset if is_train else dataset
        inner.update(data_root=str(tmp_path), expected_counts=None)
        if is_train:
            inner.update(allow_empty=True)
        # The validation images of ImageNet-LT and Places-LT are of the training folder.
        folder = test if loader == 'test_dataloader' else train
        lines = [f'{folder}/{file} {i}\n' for i, file in enumerate(kinds)]
        (tmp_path / inner.ann_file).write_text(''.join(lines))
        datasets[loader] = DATASETS.build(dataset)
    return config, datasets


def path_of(dataset, i):
    return dataset.get_data_info(i)['img_path']


def evaluation_pixels(path):
    """Resize to 256 and centre crop of 224 by Pillow alone, (3, 224, 224) in RGB."""
    image = Image.open(path).convert('RGB')
    width, height = image.size
    short = min(width, height)
    size = int(256 * width / short), int(256 * height / short)
    image = image.resize(size, Image.BILINEAR)
    left, top = (int(round((side - 224) / 2)) for side in size)
    image = image.crop((left, top, left + 224, top + 224))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize('built', FACTS, indirect=True)
def test_evaluation_equals_pillow_alone(built):
    config, datasets = built
    preprocessor = dict(config.data_preprocessor, type='ClsDataPreprocessor')
    preprocess = MODELS.build(preprocessor)
    mean, std = (
        torch.tensor(config.data_preprocessor[key]).view(3, 1, 1) / 255
        for key in ('mean', 'std')
    )
    for loader in LOADERS[1:]:
        dataset = datasets[loader]
        assert dataset.test_mode
        assert len(dataset) == 5
        for i in range(len(dataset)):
            expected = evaluation_pixels(path_of(dataset, i))
            sample = dataset[i]
            torch.testing.assert_close(sample['inputs'].flip(0), expected)
            batch = {key: [value] for key, value in sample.items()}
            normalised = preprocess(batch)['inputs'][0]
            torch.testing.assert_close(normalised, (expected / 255 - mean) / std)


@pytest.mark.parametrize('built', FACTS, indirect=True)
def test_training_equals_pillow_alone(built):
    dataset = built[1]['train_dataloader']
    jitter = (2, 0, 1, 3), 1.3, 0.8, 0.7, None
    for i in range(len(dataset)):
        image = Image.open(path_of(dataset, i)).convert('RGB')
        # A crop of 150 x 120 pixels, 7 from the left and 30 from the top.
        image = image.crop((7, 30, 157, 150)).resize((224, 224), Image.BILINEAR)
        image = image.transpose(Image.FLIP_LEFT_RIGHT)
        results = dataset.get_data_info(i)
        for transform in dataset.dataset.pipeline.transforms:
            kind = type(transform).__name__
            if kind == 'RandomResizedCrop':
                transform.rand_crop_params = lambda img: (30, 7, 120, 150)
            elif kind == 'RandomFlip':
                transform._choose_direction = lambda: 'horizontal'
            elif kind == 'ColorJitter':
                transform._rand_params = lambda: jitter
                for enhance, factor in (
                    (ImageEnhance.Color, 0.7),
                    (ImageEnhance.Brightness, 1.3),
                    (ImageEnhance.Contrast, 0.8),
                ):
                    image = enhance(image).enhance(factor)
            results = transform(results)
        expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        torch.testing.assert_close(results['inputs'].flip(0), expected)


def transforms_of(config, name):
    return [TRANSFORMS.build(transform) for transform in config[name]]


@pytest.mark.parametrize('name', FACTS)
def test_augmentation_and_constants_of_the_recipe(name):
    config = load(name)
    kinds = {type(t).__name__: t for t in transforms_of(config, 'train_pipeline')}
    jitter = kinds.pop('ColorJitter', None)
    assert list(kinds) == [
        'LoadImageFromFile',
        'RandomResizedCrop',
        'RandomFlip',
        'PackInputs',
    ]
    crop = kinds['RandomResizedCrop']
    assert crop.scale == (224, 224)
    assert crop.crop_ratio_range == (0.08, 1.0)
    assert crop.aspect_ratio_range == pytest.approx((3 / 4, 4 / 3))
    assert crop.interpolation == 'bilinear'
    assert kinds['RandomFlip'].prob == 0.5
    if name == 'inat2018':
        assert jitter is None
        constants = [0.466, 0.471, 0.380], [0.195, 0.194, 0.192]
    else:
        ranges = jitter.brightness, jitter.contrast, jitter.saturation
        assert np.array(ranges) == pytest.approx(np.array([[0.6, 1.4]] * 3))
        assert jitter.hue is None
        constants = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    got = config.data_preprocessor
    assert np.array([got.mean, got.std]) / 255 == pytest.approx(np.array(constants))
    batch = 512 if name == 'inat2018' else 256
    assert config.train_dataloader.batch_size == batch


@pytest.mark.parametrize('built', FACTS, indirect=True)
def test_parts_of_a_base(built):
    config, datasets = built
    train = datasets['train_dataloader']
    assert train.imbalance is None
    assert train.class_counts[:6].tolist() == [1, 1, 1, 1, 1, 0]
    assert len(train.CLASSES) == config.data_preprocessor.num_classes
    for loader in LOADERS[1:]:
        assert datasets[loader].CLASSES == train.CLASSES
        assert list(config[loader].sampler.values()) == ['DefaultSampler', False]
    train.set_epoch(0, seed=0)
    first = train[0]['inputs']
    assert first.shape == (3, 224, 224)
    assert train[0]['inputs'].equal(first)
    train.set_epoch(1, seed=0)
    assert not train[0]['inputs'].equal(first)
    for evaluator in ('val_evaluator', 'test_evaluator'):
        kinds = [type(METRICS.build(metric)).__name__ for metric in config[evaluator]]
        assert kinds == ['ShotAccuracy', 'ExpertAccuracy']
