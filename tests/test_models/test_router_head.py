"""Stage two: the routers, what they learn and what they decide."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from ride_mm.models import (
    ExpertRouter,
    RIDEClassifier,
    RouterHead,
    router_loss,
    router_targets,
    running_means,
)

CLASSES, EXPERTS = 5, 4


def build_model(num_experts: int = EXPERTS, **head) -> RIDEClassifier:
    """A small network whose routers disagree about the samples."""
    torch.manual_seed(0)
    head = dict(type='RouterHead', num_classes=CLASSES, top_z=3) | head
    head = {k: v for k, v in head.items() if v is not None}
    model = MODELS.build(
        dict(
            type='RIDEClassifier',
            num_experts=num_experts,
            backbone=dict(type='RIDEResNetCIFAR', depth=20),
            neck=dict(type='GlobalAveragePooling'),
            head=head,
        )
    )
    model.init_weights()
    return model.eval()


def images(batch: int = 24) -> torch.Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def samples(batch: int = 24) -> list[DataSample]:
    return [DataSample().set_gt_label(n % CLASSES) for n in range(batch)]


def spread_thresholds(model: RIDEClassifier) -> None:
    """Let about half of the samples go on after each expert."""
    model.head.set_thresholds(0.0)
    model.head.keep_expert_logits = True
    with torch.no_grad():
        scores = model.route(images()).router_scores
    model.head.keep_expert_logits = False
    middle = scores.sort(dim=0).values[11:13].mean(0)
    model.head.threshold_logits.copy_(middle)


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return ((got - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture
def model() -> RIDEClassifier:
    model = build_model()
    spread_thresholds(model)
    return model


@torch.no_grad()
def test_a_router_that_always_continues_gives_all_experts():
    model = build_model(thresholds=0.0)
    routed = model.route(images())
    expected = model.head(model.extract_feat(images()))
    assert relative(routed.logits, expected) < 1e-6
    assert routed.num_experts.tolist() == [EXPERTS] * 24


@torch.no_grad()
def test_a_router_that_never_continues_gives_expert_one_and_computes_no_other():
    model = build_model(thresholds=1.0)
    asked = record_experts(model)
    routed = model.route(images())
    expected = model.head.expert_logits(model.extract_feat(images()))[0]
    assert asked == [(0, 24), (0, 24), (1, 24), (2, 24), (3, 24)]
    assert relative(routed.logits, expected) < 1e-6
    assert routed.num_experts.tolist() == [1] * 24


def record_experts(model: RIDEClassifier) -> list[tuple[int, int]]:
    """Note which expert is asked about how many samples."""
    asked = []
    forward = model.backbone.forward_expert

    def noted(trunk, e):
        asked.append((e, len(trunk)))
        return forward(trunk, e)

    model.backbone.forward_expert = noted
    return asked


@torch.no_grad()
def test_what_is_not_asked_is_not_computed(model):
    asked = record_experts(model)
    used = model.route(images()).num_experts
    assert asked == [(e, int((used > e).sum())) for e in range(EXPERTS)]
    assert len(set(used.tolist())) == EXPERTS


@torch.no_grad()
def test_decisions_equal_those_of_a_loop_over_samples(model):
    head, features = model.head, model.extract_feat(images())
    routed = model.route(images())
    expert_logits = head.expert_logits(features)
    for n in range(24):
        k = 1
        while k < EXPERTS:
            mean = expert_logits[:k, n].mean(0, keepdim=True)
            score = head.router(features[k - 1][n : n + 1], mean, k - 1)
            if not score > head.threshold_logits[k - 1]:
                break
            k += 1
        assert routed.num_experts[n] == k
        assert relative(routed.logits[n], expert_logits[:k, n].mean(0)) < 1e-5


@torch.no_grad()
def test_decisions_in_bfloat16_equal_those_of_all_experts_masked(model):
    head = model.head
    with torch.autocast('cpu', torch.bfloat16):
        routed = model.route(images())
        features = model.extract_feat(images())
        means = running_means(head.expert_logits(features))
        scores = torch.stack([head.router(features[i], means[i], i) for i in range(3)])
    assert features[0].dtype == torch.bfloat16
    excess = scores - head.threshold_logits[:, None]
    used = 1 + (excess > 0).long().cumprod(0).sum(0)
    not_asked = torch.arange(3)[:, None] >= used
    clear = ((excess.abs() > 1e-2) | not_asked).all(0)
    assert clear.sum() >= 18 and len(set(used[clear].tolist())) == EXPERTS
    assert routed.num_experts[clear].tolist() == used[clear].tolist()
    assert routed.logits.dtype == torch.float32
    expected = means[used - 1, torch.arange(24)]
    for n in clear.nonzero():
        assert relative(routed.logits[n], expected[n]) < 1e-2


@torch.no_grad()
def test_channels_last_changes_no_decision(model):
    fast, plain = (
        lay_out(model, channels_last).route(images()) for channels_last in (True, False)
    )
    assert fast.num_experts.tolist() == plain.num_experts.tolist()
    assert len(set(plain.num_experts.tolist())) == EXPERTS
    assert relative(fast.logits, plain.logits) < 1e-5


def lay_out(model: RIDEClassifier, channels_last: bool) -> RIDEClassifier:
    model.channels_last = channels_last
    return model.eval()  # Which lays out the weights.


@pytest.mark.parametrize('parts', [[24], [1] * 24, [7, 1, 16], [12, 12]])
@torch.no_grad()
def test_permuting_and_splitting_a_batch_changes_no_decision(model, parts):
    expected = model.route(images())
    order = torch.randperm(24, generator=torch.Generator().manual_seed(2))
    routed = [model.route(part) for part in images()[order].split(parts)]
    used = torch.cat([one.num_experts for one in routed])
    logits = torch.cat([one.logits for one in routed])
    assert used.tolist() == expected.num_experts[order].tolist()
    assert relative(logits, expected.logits[order]) < 1e-5


@torch.no_grad()
def test_tensor_mode_and_prediction_are_routed(model):
    routed = model.route(images())
    assert relative(model(images(), mode='tensor'), routed.logits) < 1e-5
    given = samples()
    filled = model(images(), given, mode='predict')
    assert [id(s) for s in filled] == [id(s) for s in given]
    for sample, logits, used in zip(
        filled, routed.logits, routed.num_experts, strict=True
    ):
        torch.testing.assert_close(
            sample.pred_score, logits.softmax(0), rtol=1e-4, atol=1e-6
        )
        assert sample.pred_label.item() == logits.argmax().item()
        assert sample.num_experts == used.item()
        assert 'expert_logits' not in sample


@torch.no_grad()
def test_the_head_alone_decides_the_same_on_given_features(model):
    expected = model(images(), samples(), mode='predict')
    got = model.head.predict(model.extract_feat(images()), samples())
    for a, b in zip(got, expected, strict=True):
        assert a.num_experts == b.num_experts
        torch.testing.assert_close(a.pred_score, b.pred_score, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_expert_logits_on_request(model):
    model.head.keep_expert_logits = True
    expected = model.head.expert_logits(model.extract_feat(images()))
    for n, sample in enumerate(model(images(), samples(), mode='predict')):
        k = sample.num_experts
        assert sample.router_scores.shape == (min(k, EXPERTS - 1),)
        assert relative(sample.expert_logits, expected[:k, n]) < 1e-5
        above = sample.router_scores > model.head.threshold_logits[:k]
        assert above[: k - 1].all()
        assert k == EXPERTS or not above[-1]


@torch.no_grad()
def test_all_experts_logits_on_request_without_routers():
    model = build_model(type='MultiExpertHead', top_z=None, keep_expert_logits=True)
    expected = model.head.expert_logits(model.extract_feat(images()))
    for n, sample in enumerate(model(images(), samples(), mode='predict')):
        torch.testing.assert_close(sample.expert_logits, expected[:, n])


def test_targets_equal_a_loop():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(EXPERTS, 200, CLASSES, generator=generator)
    label = torch.randint(CLASSES, (200,), generator=generator)
    means = running_means(logits)
    targets = router_targets(means, label)
    assert targets.shape == (EXPERTS - 1, 200)
    for i in range(EXPERTS - 1):
        for n in range(200):
            right = [
                logits[: k + 1, n].mean(0).argmax() == label[n] for k in range(EXPERTS)
            ]
            assert targets[i, n] == float(not right[i] and any(right[i + 1 :]))
    assert 0 < targets.mean() < 1


def test_router_loss_has_the_closed_form():
    scores = torch.tensor([[0.3, -2.0], [1.5, 0.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    def softplus(y):
        return math.log1p(math.exp(y))

    expected = 7 * softplus(-0.3) + softplus(-2.0) + softplus(1.5) + 7 * softplus(0.0)
    got = router_loss(scores, targets, pos_weight=7.0)
    assert got.item() == pytest.approx(expected / 4, rel=1e-6)


@pytest.mark.parametrize('shared', [True, False])
def test_scores_have_the_closed_form(shared):
    router = ExpertRouter(3, 6, CLASSES, top_z=2, hidden_channels=4, shared=shared)
    assert len(router.output) == (1 if shared else 2)
    v, m = torch.randn(7, 6), torch.randn(7, CLASSES)
    for i in range(2):
        hidden = F.relu(router.hidden[i](v / v.norm(dim=1, keepdim=True)))
        top = m.sort(dim=1, descending=True).values[:, :2]
        output = router.output[0 if shared else i]
        expected = torch.cat([top, hidden], 1) @ output.weight[0] + output.bias
        torch.testing.assert_close(router(v, m, i), expected)


def test_a_zero_feature_is_no_nan():
    router = ExpertRouter(2, 6, CLASSES, top_z=2)
    assert torch.isfinite(router(torch.zeros(1, 6), torch.zeros(1, CLASSES), 0)).all()


def test_a_router_works_in_fp32_under_autocast():
    router = ExpertRouter(2, 6, CLASSES, top_z=2)
    v, m = torch.randn(7, 6), torch.randn(7, CLASSES)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        got = router(v, m, 0)
    assert got.dtype == torch.float32
    assert torch.equal(got, router(v, m, 0))


def test_top_z_is_clamped_with_one_warning(caplog, monkeypatch):
    messages = []
    monkeypatch.setattr(
        'ride_mm.models.layers.expert_router.print_log',
        lambda message, **kwargs: messages.append(message),
    )
    model = build_model(top_z=30)
    assert messages == ['router: top_z=30 exceeds the number of classes; using all 5']
    assert model.head.router.output[0].in_features == CLASSES + 16
    model.route(images(2))
    assert len(messages) == 1


def test_only_the_routers_learn():
    model = build_model(
        loss=dict(type='LDAMLoss', scale=30.0, class_counts=[9, 8, 7, 6, 5]),
        diversity=dict(type='DiversityLoss', factor=-0.2),
    )
    model.train()
    learning = [n for n, p in model.named_parameters() if p.requires_grad]
    assert learning == [f'head.{n}' for n in router_names(model)]
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert layers and not any(layer.training for layer in layers)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    losses = model(images(), samples(), mode='loss')
    losses['loss_router'].backward()
    for name, parameter in model.named_parameters():
        if name in learning:
            assert parameter.grad.abs().sum() > 0, name
    optimizer.step()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in learning), name
    assert {k for k in losses if 'loss' in k} == {'loss_router'}


def router_names(model: RIDEClassifier) -> list[str]:
    return [f'router.{n}' for n, _ in model.head.router.named_parameters()]


def test_the_loss_is_that_of_the_targets():
    model = build_model()
    with torch.no_grad():
        features = model.extract_feat(images())
        losses = model.head.loss(features, samples())
        means = running_means(model.head.expert_logits(features))
    label = torch.arange(24) % CLASSES
    targets = router_targets(means, label)
    scores = torch.stack(
        [model.head.router(features[i], means[i], i) for i in range(3)]
    )
    assert losses['loss_router'] == pytest.approx(
        router_loss(scores, targets, 100.0).item(), rel=1e-6
    )
    assert losses['router_needed'] == pytest.approx(targets.mean().item())
    right = ((scores > 0) == (targets > 0)).float().mean().item()
    assert losses['router_accuracy'] == pytest.approx(right)


def test_soft_labels_are_refused():
    model = build_model()
    soft = [DataSample().set_gt_score(torch.full((CLASSES,), 0.2)) for _ in range(2)]
    with pytest.raises(ValueError, match='hard labels, got soft'):
        model(images(2), soft, mode='loss')


class TestThresholds:
    def test_half_by_default(self):
        head = build_model().head
        assert head.thresholds == [0.5] * 3

    def test_of_each_router(self):
        head = build_model(thresholds=[0.0, 0.25, 1.0]).head
        np.testing.assert_allclose(head.thresholds, [0.0, 0.25, 1.0], rtol=1e-6)
        expected = [-math.inf, math.log(1 / 3), math.inf]
        np.testing.assert_allclose(head.threshold_logits, expected, rtol=1e-6)

    @pytest.mark.parametrize(
        ('thresholds', 'message'),
        [
            (1.2, 'from 0 to 1, got 1.2'),
            ([0.5, -0.1, 0.5], 'from 0 to 1, got -0.1'),
            (math.nan, 'numbers, got nan'),
            ([0.5, 0.5], 'one number or 3, .*got 2'),
            (['0.5'] * 3, "numbers, got '0.5'"),
            (True, 'got True'),
        ],
    )
    def test_others_are_refused(self, thresholds, message):
        with pytest.raises(ValueError, match=message):
            build_model(thresholds=thresholds)

    def test_as_logits(self):
        head = build_model(threshold_logits=[-1e9, 2.5, 50]).head
        assert head.threshold_logits.tolist() == [-1e9, 2.5, 50]
        assert build_model(threshold_logits=3).head.threshold_logits.tolist() == [3] * 3
        with pytest.raises(ValueError, match='threshold_logits, got both'):
            build_model(thresholds=0.5, threshold_logits=0)
        with pytest.raises(ValueError, match='threshold_logits: .* or 3, .*got 1'):
            build_model(threshold_logits=[1])

    def test_come_with_the_weights_unless_the_config_names_them(self):
        state = build_model(thresholds=[0.1, 0.2, 0.3]).state_dict()
        plain, configured = build_model(), build_model(thresholds=0.9)
        plain.load_state_dict(state)
        configured.load_state_dict(state)
        np.testing.assert_allclose(plain.head.thresholds, [0.1, 0.2, 0.3], rtol=1e-6)
        np.testing.assert_allclose(configured.head.thresholds, [0.9] * 3, rtol=1e-6)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(num_experts=1), 'at least 2, .* got 1'),
        (dict(top_z=0), 'top_z: expected a whole number >= 1, got 0'),
        (dict(hidden_channels=2.5), 'hidden_channels: .* got 2.5'),
        (dict(router_init='zeros'), "init: expected 'kaiming' or 'default'"),
        (dict(pos_weight=0), 'pos_weight: expected a number > 0, got 0'),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        RouterHead(**dict(num_classes=5, in_channels=8, num_experts=3) | changes)


def test_route_needs_routers():
    model = build_model(type='MultiExpertHead', top_z=None)
    with pytest.raises(TypeError, match='expected a RouterHead, got MultiExpertHead'):
        model.route(images(1))


@pytest.mark.parametrize('init', ['kaiming', 'default'])
def test_initialization_survives_init_weights(init):
    torch.manual_seed(0)
    head = RouterHead(num_classes=500, in_channels=400, top_z=400, router_init=init)
    head.init_weights()
    weight = head.router.hidden[0].weight
    expected = math.sqrt(2 / 400) if init == 'kaiming' else math.sqrt(1 / 400 / 3)
    assert weight.std().item() == pytest.approx(expected, rel=0.03)


def test_images_are_laid_out_with_channels_last_on_a_cpu():
    for channels_last, expected in ((None, True), (True, True), (False, False)):
        model = build_model()
        model.channels_last = channels_last
        seen = []
        model.backbone.conv1.register_forward_pre_hook(
            lambda module, args, seen=seen: seen.append(
                args[0].is_contiguous(memory_format=torch.channels_last)
            )
        )
        with torch.no_grad():
            model(images(2))
        assert seen == [expected]


@pytest.mark.parametrize(('channels_last', 'expected'), [(None, True), (False, False)])
@pytest.mark.parametrize('mode', [True, False])
def test_frozen_weights_are_laid_out_alike_in_both_modes(channels_last, expected, mode):
    """Else a run resumed after a validation would compute in another layout."""
    model = build_model()
    model.channels_last = channels_last
    weight = model.train(mode).backbone.experts[0].layer3[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == expected
