"""ride_mm.apis.Inferencer: what it says is what the model says of the same pixels."""

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer
from mmpretrain.apis import get_model
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image

from ride_mm.apis import Inferencer
from ride_mm.engine.checkpoint_io import CheckpointError, write_atomically
from ride_mm.utils import find_config, metafile

SIZE = 16
NAMES = [f'class {c}' for c in range(10)]


ROUTED = 'ride_r20_digitslt_router'


def colour_config(name: str = ROUTED, pipeline: Sequence[dict] = ()) -> Config:
    """A tiny network for colour images in files, which the pipeline makes its size."""
    cfg = Config.fromfile(find_config(name))
    cfg.model.backbone.expert_width = 0.5
    cfg.data_preprocessor.update(
        mean=[100.0, 120.0, 140.0], std=[50.0, 60.0, 70.0], to_rgb=True
    )
    cfg.test_dataloader.dataset = dict(
        type='CustomDataset',
        data_root='',
        pipeline=[dict(type='LoadImageFromFile'), *pipeline, dict(type='PackInputs')],
    )
    return cfg


CROP = [
    dict(type='ResizeEdge', scale=SIZE, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=SIZE),
]


def draw_weights(cfg: Config, path: Path, meta: dict | None = None) -> Path:
    """Write random weights."""
    torch.manual_seed(0)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model.init_weights()
    for name, tensor in model.state_dict().items():
        if name.endswith('running_mean'):  # As in a network that was trained.
            tensor.normal_(std=0.1)
    write_atomically(dict(state_dict=model.state_dict(), meta=meta or {}), path)
    return path


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'routed.pth'
    return draw_weights(colour_config(), path)


@pytest.fixture(scope='module')
def arrays() -> list[np.ndarray]:
    stream = np.random.RandomState(0)
    return [stream.randint(0, 256, (SIZE, SIZE, 3)).astype(np.uint8) for _ in range(6)]


@pytest.fixture(scope='module')
def inferencer(checkpoint, arrays) -> Inferencer:
    """With a threshold between the scores of the images."""
    inferencer = Inferencer(colour_config(), checkpoint, device='cpu')
    inferencer.model.head.keep_expert_logits = True
    inferencer.model.head.set_thresholds(0)
    with torch.no_grad():
        scores = inferencer.model.route(normalised(arrays)).router_scores
    middle = scores.sort(0).values[2:4].mean(0)
    inferencer.model.head.threshold_logits.copy_(middle)
    inferencer.model.head.keep_expert_logits = False
    return inferencer


def normalised(arrays: list[np.ndarray]) -> torch.Tensor:
    """BGR images as the network sees them, (N, 3, H, W)."""
    rgb = torch.from_numpy(np.stack(arrays)[..., ::-1].copy()).float()
    x = (rgb - torch.tensor([100.0, 120, 140])) / torch.tensor([50.0, 60, 70])
    return x.permute(0, 3, 1, 2)


def write_images(arrays: list[np.ndarray], folder: Path) -> list[str]:
    paths = [str(folder / f'{i}.png') for i in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        cv2.imwrite(path, array)
    return paths


def scores_of(results: list[dict]) -> list[float]:
    return [one['pred_score'] for result in results for one in result['top_k']]


def assert_same(got: list[dict], expected: list[dict], rel: float = 1e-4) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one['num_experts'] == other['num_experts']
        labels = [k['pred_label'] for k in one['top_k']]
        assert labels == [k['pred_label'] for k in other['top_k']]
    assert scores_of(got) == pytest.approx(scores_of(expected), rel=rel)


def test_the_network_on_the_same_pixels(inferencer, arrays, tmp_path):
    with torch.no_grad():
        routed = inferencer.model.route(normalised(arrays))
    probabilities = routed.logits.softmax(-1)
    results = inferencer(write_images(arrays, tmp_path), top_k=10)
    used = [result['num_experts'] for result in results]
    assert used == routed.num_experts.tolist()
    assert len(set(used)) > 1
    for result, expected in zip(results, probabilities, strict=True):
        labels = [one['pred_label'] for one in result['top_k']]
        assert labels == expected.argsort(descending=True).tolist()
        got = [one['pred_score'] for one in result['top_k']]
        assert got == pytest.approx(expected[labels].tolist(), rel=1e-4)
        assert {key: result[key] for key in result['top_k'][0]} == result['top_k'][0]
        assert sum(got) == pytest.approx(1)


def test_files_and_arrays_are_the_same(inferencer, arrays, tmp_path):
    paths = write_images(arrays, tmp_path)
    from_files = inferencer(paths)
    assert [result['img_path'] for result in from_files] == paths
    from_arrays = inferencer(arrays)
    assert [result['img_path'] for result in from_arrays] == [None] * len(arrays)
    assert_same(from_arrays, from_files, rel=1e-6)
    assert_same(inferencer(Path(paths[3])), from_files[3:4])


@pytest.mark.parametrize('batch_size', [1, 4])
def test_batches_change_nothing(inferencer, arrays, batch_size):
    assert_same(inferencer(arrays, batch_size=batch_size), inferencer(arrays))


def test_workers_change_nothing(inferencer, arrays, tmp_path):
    paths = write_images(arrays, tmp_path)
    results = list(inferencer.iterate(paths, batch_size=4, num_workers=2))
    assert_same(results, inferencer(paths, batch_size=4), rel=1e-6)


def test_mmpretrain_s_inferencer_agrees(checkpoint, tmp_path):
    stream = np.random.RandomState(1)
    sizes = [(40, 30), (20, 64), (SIZE, SIZE)]
    arrays = [stream.randint(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    paths = write_images(arrays, tmp_path)
    cfg = colour_config(pipeline=CROP)
    stock = ImageClassificationInferencer(cfg, str(checkpoint), device='cpu')
    results = Inferencer(cfg, checkpoint, device='cpu')(paths, top_k=10)
    for result, expected in zip(results, stock(paths), strict=True):
        assert result['pred_label'] == expected['pred_label']
        for one in result['top_k']:
            score = expected['pred_scores'][one['pred_label']]
            assert one['pred_score'] == pytest.approx(score, rel=1e-4)


def test_images_of_several_sizes_without_a_crop(inferencer):
    stream = np.random.RandomState(2)
    sizes = [(16, 16), (16, 16), (24, 16), (16, 16), (20, 20), (20, 20)]
    arrays = [stream.randint(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    together = inferencer(arrays)
    assert_same(together, [inferencer(array)[0] for array in arrays])


def test_grey_images(inferencer, arrays, tmp_path):
    grey = arrays[0][..., 0]
    path = str(tmp_path / 'grey.png')
    cv2.imwrite(path, grey)
    expected = inferencer(np.stack([grey] * 3, axis=-1))
    assert_same(inferencer([grey, path]), 2 * expected)


def test_a_photo_is_turned_as_its_file_says(inferencer, arrays, tmp_path):
    upright = arrays[0]
    stored = Image.fromarray(np.rot90(upright)[..., ::-1].copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by 90 degrees clockwise.
    stored.save(tmp_path / 'turned.png', exif=exif)
    assert_same(inferencer(tmp_path / 'turned.png'), inferencer(upright))


def test_thresholds(checkpoint, arrays):
    for thresholds, used in ((0, 3), (1, 1), ([0, 1], 2)):
        inferencer = Inferencer(
            colour_config(), checkpoint, device='cpu', thresholds=thresholds
        )
        assert {r['num_experts'] for r in inferencer(arrays)} == {used}
    with pytest.raises(ValueError, match='expected one number or 2, .* got 3'):
        Inferencer(colour_config(), checkpoint, thresholds=[0, 0, 0])


def test_a_model_without_routers(arrays, tmp_path):
    name = 'ride_r20_digitslt'
    path = draw_weights(colour_config(name), tmp_path / 'experts.pth')
    inferencer = Inferencer(colour_config(name), path, device='cpu')
    with torch.no_grad():
        expected = inferencer.model(normalised(arrays)).softmax(-1).max(-1)
    results = inferencer(arrays, top_k=1)
    assert [result['pred_label'] for result in results] == expected.indices.tolist()
    assert scores_of(results) == pytest.approx(expected.values.tolist(), rel=1e-4)
    assert {result['num_experts'] for result in results} == {None}
    with pytest.raises(ValueError, match='expected a model with routers'):
        Inferencer(colour_config(name), path, thresholds=0.5)


def test_top_k_is_at_most_the_number_of_classes(inferencer, arrays):
    assert len(inferencer(arrays[0], top_k=99)[0]['top_k']) == 10
    assert len(inferencer(arrays[0], top_k=2)[0]['top_k']) == 2
    with pytest.raises(ValueError, match='top_k: expected a number >= 1, got 0'):
        inferencer(arrays[0], top_k=0)
    with pytest.raises(ValueError, match='batch_size: expected a number >= 1, got 0'):
        inferencer(arrays[0], batch_size=0)


class TestClassNames:
    def test_of_the_checkpoint_go_before_those_of_the_data(self, tmp_path):
        cfg = Config.fromfile(find_config(ROUTED))
        plain = draw_weights(cfg, tmp_path / 'plain.pth')
        digits = DATASETS.get('Digits').METAINFO['classes']
        assert Inferencer(cfg, plain).classes == list(digits)
        meta = dict(dataset_meta=dict(classes=NAMES))
        path = draw_weights(cfg, tmp_path / 'named.pth', meta)
        inferencer = Inferencer(cfg, path)
        assert inferencer.classes == NAMES
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        (result,) = inferencer(image)
        assert result['pred_class'] == f'class {result["pred_label"]}'

    def test_given_go_before_all(self, checkpoint):
        inferencer = Inferencer(colour_config(), checkpoint, classes=NAMES)
        assert inferencer.classes == NAMES
        with pytest.raises(ValueError, match='expected 10 names, .* got 9'):
            Inferencer(colour_config(), checkpoint, classes=NAMES[1:])

    def test_without_any_they_are_numbers(self, inferencer, arrays):
        assert inferencer.classes is None
        (result,) = inferencer(arrays[0])
        assert result['pred_class'] == str(result['pred_label'])

    def test_of_another_number_are_not_believed(self, tmp_path):
        meta = dict(dataset_meta=dict(classes=NAMES[1:]))
        path = draw_weights(colour_config(), tmp_path / 'x.pth', meta)
        assert Inferencer(colour_config(), path).classes is None


class TestUnreadableImages:
    @pytest.fixture
    def broken(self, arrays, tmp_path) -> dict[str, str]:
        """Files that cannot be read, and words of why."""
        whole = tmp_path / 'whole.jpg'
        Image.fromarray(np.tile(arrays[0], (8, 8, 1))).save(whole)
        files = dict(
            empty=b'', text=b'no image', cut=whole.read_bytes()[:-400], absent=None
        )
        for name, content in files.items():
            if content is not None:
                (tmp_path / f'{name}.jpg').write_bytes(content)
        why = 'file is empty', 'not a complete', 'not a complete', 'no such file'
        paths = [str(tmp_path / f'{name}.jpg') for name in files]
        return dict(zip(paths, why, strict=True))

    def test_are_named(self, inferencer, broken):
        for path, why in broken.items():
            with pytest.raises(ValueError, match=f'{re.escape(path)}: .*{why}'):
                inferencer(path)

    def test_are_passed_over_on_request(self, inferencer, arrays, broken, tmp_path):
        good = write_images(arrays, tmp_path)
        skipped = {}
        mixed = [*good[:4], *broken, *good[4:]]
        results = inferencer.iterate(mixed, batch_size=3, skip=skipped.__setitem__)
        assert_same(list(results), inferencer(good))
        assert list(skipped) == list(broken)
        for path, why in broken.items():
            assert why in skipped[path]

    @pytest.mark.parametrize(
        'array',
        [
            np.zeros((8, 8, 3)),
            np.zeros((8, 8, 4), np.uint8),
            np.zeros((3,), np.uint8),
            np.zeros((0, 8, 3), np.uint8),
        ],
        ids=['float', 'alpha', 'line', 'empty'],
    )
    def test_arrays_of_another_kind(self, inferencer, arrays, array):
        message = f'image 1: expected an array of uint8, .* got {array.dtype} '
        with pytest.raises(ValueError, match=message):
            inferencer([arrays[0], array])


class TestWeights:
    def test_of_another_model_are_refused(self, checkpoint, tmp_path):
        with pytest.raises(CheckpointError, match='routers: expected none, got some'):
            Inferencer('ride_r20_digitslt', checkpoint)
        cfg = colour_config()
        cfg.model.head.num_classes = 7
        with pytest.raises(CheckpointError, match=r'expected .*7.*got .*10'):
            Inferencer(cfg, checkpoint)
        state = torch.load(checkpoint, weights_only=True)['state_dict']
        state.pop('backbone.conv1.weight')
        write_atomically(state, tmp_path / 'less.pth')
        message = 'backbone.conv1.weight: expected shape .*, got no such tensor'
        with pytest.raises(CheckpointError, match=message):
            Inferencer(colour_config(), tmp_path / 'less.pth')

    @pytest.mark.parametrize('content', [[1, 2], {}, {'state_dict': {}}, {'epoch': 3}])
    def test_there_have_to_be_some(self, tmp_path, content):
        path = tmp_path / 'none.pth'
        write_atomically(content, path)
        with pytest.raises(CheckpointError, match='expected the tensors of a model'):
            Inferencer(colour_config(), path)

    def test_are_never_random(self):
        with pytest.raises(ValueError, match='ships no weights for ride_r32'):
            Inferencer('ride_r32_cifar100lt')
        with pytest.raises(FileNotFoundError):
            Inferencer(ROUTED, 'absent.pth')

    def test_a_state_dict_alone_with_the_names_of_a_wrapper(
        self, inferencer, checkpoint, arrays, tmp_path
    ):
        state = torch.load(checkpoint, weights_only=True)['state_dict']
        state['head.threshold_logits'] = inferencer.model.head.threshold_logits
        path = tmp_path / 'bare.pth'
        write_atomically({f'module.{k}': v for k, v in state.items()}, path)
        again = Inferencer(colour_config(), path, device='cpu')
        assert_same(again(arrays), inferencer(arrays), rel=1e-6)

    def test_that_ride_mm_ships(self, arrays, tmp_path, monkeypatch):
        path = draw_weights(Config.fromfile(find_config(ROUTED)), tmp_path / 'x.pth')
        entries = {ROUTED: dict(Name=ROUTED, Weights=str(path))}
        monkeypatch.setattr(metafile, 'model_entries', lambda: entries)
        assert_same(Inferencer(ROUTED)(arrays[0]), Inferencer(ROUTED, path)(arrays[0]))
        entries[ROUTED]['Weights'] = 'weights/absent.pth'
        with pytest.raises(FileNotFoundError, match='expected its weights in'):
            Inferencer(ROUTED)


def test_a_model_of_mmpretrain_s_get_model(inferencer, checkpoint, arrays):
    model = get_model(colour_config(), str(checkpoint), device='cpu')
    thresholds = inferencer.model.head.thresholds
    again = Inferencer(model, device='cpu', thresholds=thresholds)
    assert_same(again(arrays), inferencer(arrays))


class TestModulesWithoutWeights:
    def test_are_refused(self, checkpoint):
        for cfg in (colour_config(), 'ride_r32_cifar100lt'):
            if isinstance(cfg, str):
                cfg = Config.fromfile(find_config(cfg))
            with pytest.raises(ValueError, match='that none were loaded into'):
                Inferencer(get_model(cfg, device='cpu'), device='cpu')
        model = get_model(colour_config(), device='cpu')
        Inferencer(model, checkpoint, device='cpu')
        # Now some were, whoever loaded them.
        assert Inferencer(model, device='cpu').model is model

    def test_are_known_by_norms_without_averages_and_by_classes(self):
        cfg = colour_config()
        cfg.model = dict(
            type='ImageClassifier',
            backbone=dict(
                type='VisionTransformer', arch='deit-tiny', img_size=16, patch_size=8
            ),
            head=dict(type='VisionTransformerClsHead', num_classes=10, in_channels=192),
        )
        model = get_model(cfg, device='cpu')
        with pytest.raises(ValueError, match='that none were loaded into'):
            Inferencer(model, device='cpu')
        model._dataset_meta = dict(classes=NAMES)
        assert Inferencer(model, device='cpu').classes == NAMES
        model._dataset_meta = {}
        with torch.no_grad():
            model.backbone.ln1.weight[0] = 1.1
        assert Inferencer(model, device='cpu').classes is None


def test_weights_have_to_be_finite(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    name = next(k for k in state if k.endswith('running_var'))
    state[name][0] = float('nan')
    path = tmp_path / 'nan.pth'
    write_atomically(dict(state_dict=state), path)
    message = f'{re.escape(name)}: expected finite numbers, got nan'
    with pytest.raises(CheckpointError, match=message):
        Inferencer(colour_config(), path)
    with pytest.raises(CheckpointError, match=message):
        Inferencer(get_model(colour_config(), str(path), device='cpu'))
    # A threshold may be that of always.
    state[name][0] = 1
    state['head.threshold_logits'] = torch.full((2,), -torch.inf)
    write_atomically(dict(state_dict=state), path)
    inferencer = Inferencer(colour_config(), path, device='cpu')
    assert inferencer.model.head.threshold_logits.isinf().all()


def test_what_cannot_be_a_model():
    with pytest.raises(FileNotFoundError, match='ride_r20_digitslt'):
        Inferencer('ride_r20_digitlst', 'x.pth')
    with pytest.raises(ValueError, match='expected one with model, got none'):
        Inferencer(Config(dict(a=1)), 'x.pth')
    with pytest.raises(ValueError, match="MMPretrain's get_model built"):
        Inferencer(torch.nn.Linear(1, 1))
    cfg = colour_config()
    cfg.pop('test_dataloader')
    with pytest.raises(ValueError, match='expected test_dataloader.dataset.pipeline'):
        Inferencer(cfg, 'x.pth')
