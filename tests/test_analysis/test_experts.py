"""Recordings of routers equal what the layers decide; sweeps leave no trace."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from vmoe_cases import DATA, Case

from ride_mm.analysis.experts import (
    LayerRouting,
    RoutingRecorder,
    capacity_sweep,
    moe_layers,
    plot_capacity,
    plot_experts_by_class,
    plot_load,
    record_routing,
)
from ride_mm.analysis.experts.capacity import room
from ride_mm.apis import load_vmoe

TOKENS, EXPERTS, CLASSES = 17, 4, 5


@pytest.fixture
def case() -> Case:
    return Case('b')


@pytest.fixture
def model(case):
    model = case.model().eval()
    # Pixels as they come, so that the stored images can be fed.
    model.data_preprocessor = MODELS.build(dict(type='ClsDataPreprocessor'))
    return model


def batches(images: torch.Tensor, labels: list[int], size: int) -> list[dict]:
    samples = [DataSample().set_gt_label(label) for label in labels]
    return [
        dict(
            inputs=list(images[i : i + size]),
            data_samples=samples[i : i + size],
        )
        for i in range(0, len(images), size)
    ]


def test_counts_are_those_of_the_original(case, model):
    labels = [3, 1, 0, 3]
    layers, accuracy = record_routing(model, batches(case.images, labels, 4), CLASSES)
    logits = case['logits']
    right = (logits.argmax(1) == torch.tensor(labels)).double().mean().item()
    assert accuracy == pytest.approx(100 * right)
    for layer, block in zip(layers, case.blocks, strict=True):
        assert layer.name == f'backbone.layers.{block}.ffn'
        part = case.part(f'routing/encoderblock_{block}/')
        experts = part['expert_index'].reshape(4, TOKENS, -1)
        kept = part['kept_k'].reshape(4, TOKENS, -1).astype(bool)
        asked = np.zeros((CLASSES, EXPERTS), int)
        taken, alone = asked.copy(), np.zeros(CLASSES, int)
        for image, label in enumerate(labels):
            for token in range(TOKENS):
                for e, k in zip(experts[image, token], kept[image, token], strict=True):
                    asked[label, e] += 1
                    taken[label, e] += k
                alone[label] += not kept[image, token].any()
        assert (layer.asked == asked).all()
        assert (layer.kept == taken).all()
        assert (layer.alone == alone).all()
        assert layer.tokens.tolist() == [TOKENS, TOKENS, 0, 2 * TOKENS, 0]
        assert layer.dropped == pytest.approx(1 - kept.mean())
        # Two groups of two images.
        assert layer.room == 2 * EXPERTS * part['capacity']


def test_batches_and_groups_that_are_not_full_are_counted(case, model):
    images = torch.cat([case.images, case.images[:1]])
    layers, _ = record_routing(model, batches(images, [3, 1, 0, 3, 2], 3), CLASSES)
    for layer in layers:
        assert layer.tokens.tolist() == [17, 17, 17, 34, 0]
        assert layer.asked.sum(1).tolist() == [34, 34, 34, 68, 0]
        assert (layer.kept <= layer.asked).all()


def test_nothing_is_counted_or_changed_afterwards(case, model):
    before = model(case.images, mode='tensor')
    recorder = RoutingRecorder(model, CLASSES)
    with recorder.attached():
        recorder.labels = torch.tensor([0, 0, 1, 1])
        assert torch.equal(model(case.images, mode='tensor'), before)
    counted = recorder.results()[0].asked.sum()
    model(case.images, mode='tensor')
    assert recorder.results()[0].asked.sum() == counted == 2 * 4 * TOKENS


def test_experts_that_choose_are_counted(case):
    config = dict(
        type='VMoEClassifier',
        backbone=dict(
            type='VMoE',
            arch=dict(
                embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=32
            ),
            img_size=16,
            patch_size=4,
            pool='gap',
            moe=dict(
                blocks=[1],
                num_experts=EXPERTS,
                images_per_group=1,
                router=dict(type='ExpertsChooseRouter', capacity_factor=0.5),
            ),
        ),
        head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=32),
        data_preprocessor=dict(type='ClsDataPreprocessor'),
    )
    model = MODELS.build(config).eval()
    data = batches(case.images, [0, 0, 1, 4], 4)
    (layer,), _ = record_routing(model, data, CLASSES)
    # 16 tokens, each expert takes two of them.
    assert layer.kept.sum(0).tolist() == [8] * EXPERTS
    assert layer.kept.sum(1).tolist() == [16, 8, 0, 0, 8]
    assert (layer.asked == layer.kept).all()
    assert layer.tokens.sum() - layer.alone.sum() <= 32
    assert layer.filled == 1
    points = capacity_sweep(model, lambda: data, CLASSES, [0.5, 1.0])
    assert [p.batch_priority for p in points] == [False, False]
    assert points[0].passed_by == pytest.approx(layer.passed_by)
    assert points[1].passed_by < points[0].passed_by


def test_a_sweep_tests_each_room_and_leaves_the_model_as_it_was(case, model):
    labels = case['logits'].argmax(1).tolist()
    data = batches(case.images, labels, 4)
    routers = [layer.router for layer in moe_layers(model).values()]
    points = capacity_sweep(model, lambda: data, CLASSES, [0.25, 1.05, 99])
    assert all(r.eval_capacity_factor is None and not r.batch_priority for r in routers)
    assert [(p.factor, p.batch_priority) for p in points] == [
        (f, b) for f in (0.25, 1.05, 99) for b in (False, True)
    ]
    assert points[2].accuracy == 100
    assert points[2].dropped == pytest.approx(32 / 272)
    assert points[0].dropped > points[2].dropped > points[4].dropped == 0
    # Priority keeps the tokens' best experts, so that fewer are left with none.
    assert points[1].passed_by <= points[0].passed_by
    assert points[4].accuracy == points[5].accuracy
    with pytest.raises(RuntimeError), room(model, 3, True):
        assert all(r.eval_capacity_factor == 3 and r.batch_priority for r in routers)
        raise RuntimeError
    assert all(r.eval_capacity_factor is None and not r.batch_priority for r in routers)


def layer(asked: np.ndarray, kept: np.ndarray | None = None) -> LayerRouting:
    kept = asked if kept is None else kept
    tokens = asked.sum(1)
    return LayerRouting('x', asked, kept, tokens, np.zeros_like(tokens), 16)


def test_figures_of_a_layer():
    one = layer(np.array([[4, 0], [0, 4]]), np.array([[4, 0], [0, 2]]))
    assert one.by_class.tolist() == [[1, 0], [0, 1]]
    assert one.load == pytest.approx([4 / 3, 2 / 3])
    assert one.dropped == 0.25 and one.filled == 6 / 16
    assert one.information == pytest.approx(1)
    even = layer(np.array([[3, 3], [1, 1], [0, 0]]))
    assert even.information == pytest.approx(0)
    assert even.by_class[:2].tolist() == [[0.5, 0.5]] * 2
    assert np.isnan(even.by_class[2]).all()


def test_pictures_are_drawn(tmp_path):
    layers = [layer(np.random.default_rng(i).integers(0, 9, (5, 4))) for i in range(2)]
    plot_experts_by_class(layers, tmp_path / 'map.png', list('abcde'))
    plot_load(layers, tmp_path / 'load.png')
    model = load_vmoe(DATA / 'checkpoints/tiny')
    model.data_preprocessor = MODELS.build(dict(type='ClsDataPreprocessor'))
    data = batches(Case('b').images, [0, 1, 2, 3], 4)
    points = capacity_sweep(model, lambda: data, CLASSES, [0.5, 1.0])
    plot_capacity(points, tmp_path / 'capacity.png')
    for name in ('map', 'load', 'capacity'):
        content = (tmp_path / f'{name}.png').read_bytes()
        assert content.startswith(b'\x89PNG') and len(content) > 5000


def test_what_cannot_be_recorded(case, model):
    with pytest.raises(ValueError, match='expected images, got none'):
        record_routing(model, [], CLASSES)
    with pytest.raises(ValueError, match='labels: expected 0 to 2, got 0 to 4'):
        record_routing(model, batches(case.images, [0, 1, 2, 4], 4), 3)
    with pytest.raises(ValueError, match='expected layers of experts.*Linear without'):
        moe_layers(torch.nn.Linear(2, 2))
    recorder = RoutingRecorder(model, CLASSES)
    with recorder.attached(), pytest.raises(ValueError, match='each of 4 .*got none'):
        model(case.images, mode='tensor')
