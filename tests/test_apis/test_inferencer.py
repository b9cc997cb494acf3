"""MMPretrain's own inferencer with our models: any image, in its colours and size."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmpretrain import ImageClassificationInferencer, get_model, inference_model
from mmpretrain.registry import DATASETS
from PIL import Image

SMALL = 'ride_r20_digitslt_small_router'
MEAN = 255 * torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
STD = 255 * torch.tensor([0.2023, 0.1994, 0.2010]).view(3, 1, 1)


@pytest.fixture(scope='module')
def inferencer() -> ImageClassificationInferencer:
    """For CIFAR-100-LT, with random weights."""
    torch.manual_seed(0)
    model = get_model('ride_r32_cifar100lt_30e', device='cpu')
    model.init_weights()
    return ImageClassificationInferencer(model)


@pytest.fixture
def seen(inferencer) -> Iterator[list[torch.Tensor]]:
    """What enters the network: (N, 3, H, W) of each batch, back in pixels."""
    batches = []

    def record(module, inputs):
        batches.append((inputs[0] * STD + MEAN).round())

    handle = inferencer.model.backbone.register_forward_pre_hook(record)
    yield batches
    handle.remove()


def noise(*shape: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def pixels(batch: torch.Tensor) -> np.ndarray:
    """A batch of one as an image, (H, W, 3)."""
    assert len(batch) == 1
    return batch[0].permute(1, 2, 0).numpy().astype(np.uint8)


def fitted(rgb: np.ndarray, size: int = 32) -> np.ndarray:
    """The middle of an image whose short edge has become ``size`` pixels."""
    height, width = rgb.shape[:2]
    short = min(height, width)
    shape = int(size * width / short), int(size * height / short)
    image = Image.fromarray(rgb).resize(shape, Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in image.size)
    return np.array(image.crop((left, top, left + size, top + size)))


def test_a_red_file_is_red_to_the_network(inferencer, seen, tmp_path):
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    path = tmp_path / 'red.png'
    Image.fromarray(red).save(path)
    inferencer(str(path))
    np.testing.assert_array_equal(pixels(seen[0]), red)


@pytest.mark.parametrize(
    'size',
    [(32, 32), (224, 224), (100, 40), (40, 101), (33, 32), (16, 31), (2000, 1500)],
)
def test_any_size_is_made_that_of_the_training(inferencer, seen, tmp_path, size):
    rgb = noise(*size, 3)
    path = tmp_path / 'image.png'
    Image.fromarray(rgb).save(path)
    inferencer(str(path))
    np.testing.assert_array_equal(pixels(seen[0]), fitted(rgb))
    if size == (32, 32):
        np.testing.assert_array_equal(pixels(seen[0]), rgb)


@pytest.mark.parametrize('size', [(1, 1), (1, 500), (9000, 1), (6000, 5000)])
def test_tiny_long_and_huge_images(inferencer, seen, size):
    (result,) = inferencer(np.full((*size, 3), (10, 20, 30), np.uint8))
    expected = np.full((32, 32, 3), (30, 20, 10))  # Arrays are BGR.
    np.testing.assert_array_equal(pixels(seen[0]), expected)
    assert result['pred_scores'].sum() == pytest.approx(1, abs=1e-4)


GREY = noise(40, 50)
COLOUR = noise(40, 50, 3)
PALETTE = Image.fromarray(COLOUR).quantize(16)
THREE = np.stack([GREY] * 3, -1)


@pytest.mark.parametrize(
    ('image', 'rgb'),
    [
        (Image.fromarray(GREY), THREE),
        (Image.fromarray(GREY.astype(np.uint16) * 256 + 77), THREE),
        (Image.fromarray(np.dstack([COLOUR, GREY]), 'RGBA'), COLOUR),
        (Image.fromarray(np.dstack([GREY, GREY]), 'LA'), THREE),
        (PALETTE, np.array(PALETTE.convert('RGB'))),
        (Image.fromarray(GREY > 99), 255 * (THREE > 99).astype(np.uint8)),
    ],
    ids=['grey', '16 bit', 'RGBA', 'grey and alpha', 'palette', '1 bit'],
)
def test_kinds_of_files(inferencer, seen, tmp_path, image, rgb):
    path = tmp_path / 'image.png'
    image.save(path)
    inferencer(str(path))
    np.testing.assert_array_equal(pixels(seen[0]), fitted(rgb))


def test_a_grey_array_has_three_equal_channels(inferencer, seen):
    inferencer(GREY)
    np.testing.assert_array_equal(pixels(seen[0]), fitted(THREE))


@pytest.mark.parametrize(
    ('array', 'error', 'message'),
    [
        (COLOUR / 255, AssertionError, 'only support uint8'),
        (COLOUR.astype(np.uint16), AssertionError, 'only support uint8'),
        (np.dstack([COLOUR, GREY]), RuntimeError, r'size of tensor a \(4\) must match'),
    ],
    ids=['floats', '16 bit', 'RGBA'],
)
def test_other_arrays_are_refused(inferencer, seen, array, error, message):
    with pytest.raises(error, match=message):
        inferencer(array)
    assert seen == []


def test_files_that_cannot_be_read_are_refused(inferencer, tmp_path):
    (tmp_path / 'text.png').write_text('no image')
    with pytest.raises(ValueError, match=r'Failed to read image .*text\.png'):
        inferencer(str(tmp_path / 'text.png'))
    with pytest.raises(FileNotFoundError, match=r'none\.png'):
        inferencer(str(tmp_path / 'none.png'))


def test_images_of_several_sizes_make_one_batch(inferencer, seen):
    images = [noise(40, 50, 3), noise(224, 100, 3), noise(20, 20, 3)]
    together = inferencer(images, batch_size=3)
    alone = [inferencer(image)[0] for image in images]
    assert [len(batch) for batch in seen] == [3, 1, 1, 1]
    for got, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(
            got['pred_scores'], expected['pred_scores'], rtol=1e-3, atol=1e-6
        )


def test_the_shipped_model_reads_digits_in_files(tmp_path):
    pytest.importorskip('sklearn')
    dataset = DATASETS.build(dict(type='Digits', split='test', pipeline=[]))
    for index in range(60):
        info = dataset.get_data_info(index)
        large = cv2.resize(info['img'], (160, 160), interpolation=cv2.INTER_NEAREST)
        Image.fromarray(large).save(tmp_path / f'{index:02}.png')
    inferencer = ImageClassificationInferencer(SMALL, device='cpu')
    files = sorted(map(str, Path(tmp_path).iterdir()))
    results = inferencer(files, batch_size=60)
    labels = [dataset.get_data_info(index)['gt_label'] for index in range(60)]
    names = [str(label) for label in labels]
    right = [r['pred_class'] == n for r, n in zip(results, names, strict=True)]
    assert np.mean(right) > 0.9
    one = inference_model(SMALL, files[0], device='cpu')
    assert one['pred_class'] == results[0]['pred_class']
    (sample,) = inferencer(files[0], return_datasamples=True)
    assert sample.num_experts in (1, 2, 3)
