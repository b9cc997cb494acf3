"""Head and classifier: contracts, equivalences, errors."""

import copy

import pytest
import torch
from loss_cases import LABELS, LOSSES, OTHERS, build_loss, mixed
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ride_mm.models import CosineLinear, MultiExpertHead, RIDEClassifier

BACKBONE = dict(type='RIDEResNetCIFAR', depth=20)
NECK = dict(type='GlobalAveragePooling')


def features(num_experts=3, batch=4, channels=8):
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(batch, channels, generator=generator) for _ in range(num_experts)
    )


def samples(labels=(0, 1, 2, 0)):
    return [DataSample().set_gt_label(label) for label in labels]


def build_head(**kwargs):
    settings = dict(num_classes=3, in_channels=8, num_experts=3)
    return MultiExpertHead(**{**settings, **kwargs})


def test_the_decision_is_the_mean_of_the_experts_logits():
    head = build_head()
    feats = features()
    logits = head.expert_logits(feats)
    assert logits.shape == (3, 4, 3)
    for e in range(3):
        assert torch.equal(head.score_expert(feats[e], e), logits[e])
    assert torch.equal(head(feats), logits.mean(0))
    assert head.pre_logits(feats).shape == (3, 4, 8)


def test_predict_fills_the_given_samples():
    head = build_head()
    given = samples()
    filled = head.predict(features(), given)
    assert all(a is b for a, b in zip(filled, given, strict=True))
    logits = head.expert_logits(features())
    for n, sample in enumerate(filled):
        expected = logits.mean(0)[n].softmax(-1)
        assert torch.allclose(sample.pred_score, expected)
        assert sample.pred_label.tolist() == [expected.argmax().item()]
        assert sample.expert_pred_label.tolist() == logits[:, n].argmax(-1).tolist()
    assert len(head.predict(features())) == 4


def test_one_linear_expert_behaves_as_mmpretrain_s_plain_head():
    loss = dict(type='CrossEntropyLoss', loss_weight=1.0)
    plain = LinearClsHead(num_classes=3, in_channels=8, loss=loss, cal_acc=True)
    head = build_head(num_experts=1, classifier='linear', loss=loss, cal_acc=True)
    head.classifiers[0].load_state_dict(plain.fc.state_dict())
    feats = features(1)
    assert torch.allclose(head(feats), plain(feats))
    got, expected = head.loss(feats, samples()), plain.loss(feats, samples())
    assert got['loss_cls'].item() == pytest.approx(expected['loss'].item(), rel=1e-6)
    assert got['accuracy_top-1'] == expected['accuracy_top-1']
    for a, b in zip(head.predict(feats), plain.predict(feats), strict=True):
        assert torch.allclose(a.pred_score, b.pred_score)
        assert a.pred_label == b.pred_label


def test_individual_loss_is_the_sum_over_experts():
    head = build_head()
    logits = head.expert_logits(features())
    target = torch.tensor([0, 1, 2, 0])
    expected = sum(torch.nn.functional.cross_entropy(x, target) for x in logits)
    got = head.classification_loss(logits, target)
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)


def check_is_the_loss_of_a_loop(loss, of_experts, target):
    """Value and gradient, where each expert has a loss module."""
    head = build_head(num_classes=4, num_experts=len(of_experts), loss=loss)
    generator = torch.Generator().manual_seed(1)
    shape = len(of_experts), len(target), 4
    logits = (5 * torch.randn(shape, generator=generator)).requires_grad_()
    got = head.classification_loss(logits, target)
    # The denominator that MMPretrain's heads hand over.
    expected = sum(
        one(x, target, avg_factor=len(x))
        for one, x in zip(of_experts, logits, strict=True)
    )
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)
    a, b = (torch.autograd.grad(value, logits)[0] for value in (got, expected))
    assert (a - b).abs().max() <= 1e-6 * b.abs().max()


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize('reweight', [None, 'always'])
@pytest.mark.parametrize('name', LOSSES)
def test_long_tailed_losses_of_all_experts_equal_a_loop(name, reweight, soft):
    if name == 'CE' and reweight is None:
        reweight = 'deferred'
    loss = build_loss(name, reweight=reweight)
    check_is_the_loss_of_a_loop(loss, [loss] * 3, mixed() if soft else LABELS)


@pytest.mark.parametrize(
    ('loss', 'soft'),
    [
        (dict(type='CrossEntropyLoss', class_weight=[1.0, 2.0, 3.0, 4.0]), False),
        (dict(type='CrossEntropyLoss', use_soft=True), True),
        (dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=4), False),
        (dict(type='FocalLoss'), False),
    ],
)
def test_mmpretrain_s_losses_of_all_experts_equal_a_loop(loss, soft):
    loss = MODELS.build(loss)
    check_is_the_loss_of_a_loop(loss, [loss] * 3, mixed() if soft else LABELS)


def test_a_seesaw_loss_of_all_experts_equals_one_for_each_expert():
    """It counts an image once for each expert; only ratios of counts matter."""
    loss = MODELS.build(dict(type='SeesawLoss', num_classes=4))
    own = [copy.deepcopy(loss) for _ in range(3)]
    for target in (LABELS, OTHERS):  # The first batch has all classes.
        check_is_the_loss_of_a_loop(loss, own, target)
    assert torch.equal(loss.cum_samples, 3 * own[0].cum_samples)


def test_collaborative_loss_is_that_of_the_mean_times_the_experts():
    head = build_head(collaborative=True)
    logits = head.expert_logits(features())
    target = torch.tensor([0, 1, 2, 0])
    expected = 3 * torch.nn.functional.cross_entropy(logits.mean(0), target)
    got = head.classification_loss(logits, target)
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    'loss',
    [
        dict(type='CrossEntropyLoss', class_weight=[1.0, 2.0, 3.0]),
        dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=3),
        dict(type='FocalLoss'),
        dict(type='SeesawLoss', num_classes=3),
        dict(type='LDAMLoss'),
        dict(type='BalancedSoftmaxLoss'),
    ],
    ids=lambda loss: loss['type'],
)
def test_losses_of_mmpretrain_and_ours_plug_in(loss):
    head = build_head(loss=loss, diversity=dict(type='DiversityLoss'))
    for module in head.modules():
        if hasattr(module, 'set_class_counts'):
            module.set_class_counts([100, 20, 5])
    losses = head.loss(features(), samples())
    assert set(losses) == {'loss_cls', 'loss_div'}
    sum(losses.values()).backward()
    for parameter in head.parameters():
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().sum() > 0


def test_soft_labels_reach_a_loss_that_accepts_them():
    head = build_head(loss=dict(type='CrossEntropyLoss', use_soft=True))
    soft = [DataSample().set_gt_score(torch.tensor([0.2, 0.3, 0.5])) for _ in range(4)]
    logits = head.expert_logits(features())
    target = torch.tensor([[0.2, 0.3, 0.5]] * 4)
    expected = sum(-(target * x.log_softmax(-1)).sum(-1).mean() for x in logits)
    got = head.loss(features(), soft)['loss_cls']
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


def test_soft_labels_reach_the_long_tailed_losses():
    head = build_head(loss=dict(type='LDAMLoss', class_counts=[9, 3, 1]))
    label = torch.tensor([2, 0, 1, 1])
    soft = [DataSample().set_gt_score(row) for row in torch.eye(3)[label]]
    hard = [DataSample().set_gt_label(c) for c in label]
    got, expected = (head.loss(features(), samples) for samples in (soft, hard))
    assert got['loss_cls'].item() == pytest.approx(expected['loss_cls'].item())


def test_cosine_classifier_is_its_equation():
    layer = CosineLinear(8, 3, scale=30.0)
    x = features(1)[0]
    expected = torch.nn.functional.cosine_similarity(
        x[:, :, None], layer.weight[None], dim=1
    )
    assert torch.allclose(layer(x), 30 * expected, atol=1e-5)
    assert torch.allclose(layer.weight.norm(dim=0), torch.ones(3))
    assert torch.isfinite(layer(torch.zeros(1, 8))).all()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(layer(x), layer(x.float()))
        assert layer(x).dtype == torch.float32
    # A whole network in bfloat16 has its logits in fp32, too.
    half = layer.bfloat16()(x.bfloat16())
    assert half.dtype == torch.float32
    assert torch.allclose(half, 30 * expected, atol=0.3)


HALF = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize('dtype', HALF)
@pytest.mark.parametrize('classifier', ['cosine', 'linear'])
def test_logits_and_losses_are_fp32_under_autocast(classifier, dtype):
    head = build_head(classifier=classifier, diversity=dict(type='DiversityLoss'))
    with torch.autocast('cpu', dtype=dtype):
        assert head.expert_logits(features()).dtype == torch.float32
        losses = head.loss(features(), samples())
    assert all(loss.dtype == torch.float32 for loss in losses.values())


@pytest.mark.parametrize('dtype', HALF)
def test_a_training_step_in_mixed_precision_is_close_to_fp32(dtype):
    model = build_classifier()
    model.init_weights()
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = model(images, samples(), mode='loss')
    with torch.autocast('cpu', dtype=dtype):
        losses = model(images, samples(), mode='loss')
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected[name].item(), rel=0.1, abs=0.1)
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.dtype == torch.float32, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(num_classes=0), 'num_classes: expected >= 1, got 0'),
        (dict(in_channels=None), 'in_channels: expected .* got None'),
        (dict(classifier='norm'), "'cosine' or 'linear', got 'norm'"),
        (dict(loss=dict(type='LDAMLoss', scale=10.0)), '30.0, got scale=10.0'),
        (
            dict(classifier='linear', loss=dict(type='LDAMLoss')),
            '1.0, got scale=30.0',
        ),
        (dict(class_counts=[5, 5]), 'num_classes=3 classes, got 2 class counts'),
        (
            dict(loss=dict(type='LDAMLoss', class_counts=[5, 5])),
            'LDAMLoss: expected 3 numbers, one for each class, got 2',
        ),
        (dict(class_counts=[5.5, 5, 5]), 'whole numbers, got torch.float32'),
        (dict(scale=0), 'scale: expected a number > 0, got 0'),
    ],
)
def test_wrong_settings_say_expected_and_got(settings, message):
    with pytest.raises(ValueError, match=message):
        build_head(**settings)


def test_a_feature_too_few_is_refused():
    with pytest.raises(ValueError, match='each of 3 experts, got 2'):
        build_head()(features(2))


def build_classifier(**kwargs):
    settings = dict(
        backbone=BACKBONE,
        neck=NECK,
        head=dict(
            type='MultiExpertHead',
            num_classes=3,
            diversity=dict(type='DiversityLoss'),
        ),
    )
    return MODELS.build(dict(type='RIDEClassifier', **{**settings, **kwargs}))


@pytest.mark.parametrize('num_experts', [1, 2, 4])
def test_the_classifier_s_number_of_experts_reaches_all_parts(num_experts):
    model = build_classifier(num_experts=num_experts).eval()
    assert isinstance(model, RIDEClassifier)
    images = torch.randn(2, 3, 16, 16)
    assert model(images, mode='tensor').shape == (2, 3)
    assert model.head.num_experts == model.backbone.num_experts == num_experts
    assert len(model.head.classifiers) == len(model.backbone.experts) == num_experts


def test_the_head_follows_the_backbone_s_width():
    wide = build_classifier(backbone=dict(BACKBONE, expert_width=1.0))
    assert wide.head.in_channels == wide.backbone.out_channels == 64


def test_every_parameter_gets_a_gradient_in_a_training_step():
    model = build_classifier()
    model.init_weights()
    losses = model(torch.randn(3, 3, 16, 16), samples((0, 1, 2)), mode='loss')
    total, log = model.parse_losses(losses)
    assert total.item() == pytest.approx(
        log['loss_cls'].item() + log['loss_div'].item()
    )
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(backbone=dict(BACKBONE, num_experts=2)), 'expected 3, .* got 2'),
        (
            dict(head=dict(type='MultiExpertHead', num_classes=3, in_channels=64)),
            'expected 48, .* got 64',
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build_classifier(**settings)


def test_a_loss_that_is_no_mean_is_refused():
    with pytest.raises(ValueError, match="LDAMLoss: expected reduction='mean'.*'sum'"):
        build_head(loss=dict(type='LDAMLoss', reduction='sum'))
